"""Many prompts at once: each row is the one that it would be alone."""

from __future__ import annotations

import pytest
import torch

from gptsmith.generate.api import Completion, generate, generate_batch
from gptsmith.generate.request import ContextOverflowError
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model import attention
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.tokenizers import KINDS

TOKENIZER = KINDS.validate("bytes").train(list, 0)
CONTEXT = 24
GREEDY, HOT = SamplingSettings(temperature=0), SamplingSettings(temperature=1.5, top_k=50, top_p=0.95)
PROMPTS = [TOKENIZER.encode(text) for text in ("the smith", "a", "nails of iron, of", "steel", "a", "swords")]
SEEDS = [11, 12, 13, 14, 15, 16]


@pytest.fixture(scope="module", params=["learned", "rotary", "alibi"])
def model(request: pytest.FixtureRequest) -> GPT:
    """A model of float64 that is sure enough of itself for its words to differ."""
    table = {"vocab_size": TOKENIZER.vocab_size, "context_length": CONTEXT, "init": "gpt2", "position": request.param}
    made = GPT(preset("smith", **table, embed_dim=32, num_layers=2, num_heads=2, head_dim=16), seed=5).double()
    with torch.no_grad():
        made.head.weight.mul_(20)
    return made.eval()


def rows(
    model: GPT,
    prompts: list[list[int]],
    seeds: list[int],
    sampling: SamplingSettings = HOT,
    max_tokens: int = 8,
    stop_ids: frozenset[int] = frozenset(),
    max_num_seqs: int = 64,
) -> list[Completion]:
    return generate_batch(
        model, None, prompts, max_tokens=max_tokens, sampling=sampling, seeds=seeds, stop_ids=stop_ids,
        max_num_seqs=max_num_seqs,
    )  # fmt: skip


def completion(ids: list[int], finish_reason: str, end_id: int | None = None) -> Completion:
    return Completion(ids, "", finish_reason, end_id)


def alone(model: GPT, **options: object) -> list[Completion]:
    return [rows(model, [prompt], [seed], **options)[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]


@pytest.mark.parametrize("sampling", [GREEDY, HOT])
@pytest.mark.parametrize("max_num_seqs", [1, 2, 4, 64])
def test_a_row_is_the_same_whatever_its_company(model: GPT, sampling: SamplingSettings, max_num_seqs: int) -> None:
    expected = alone(model, sampling=sampling)
    assert len({tuple(row.ids) for row in expected}) > 3
    assert rows(model, PROMPTS, SEEDS, sampling, max_num_seqs=max_num_seqs) == expected
    backwards = rows(model, PROMPTS[::-1], SEEDS[::-1], sampling, max_num_seqs=max_num_seqs)
    assert backwards[::-1] == expected


def test_greedy_is_what_one_prompt_alone_goes_on_with(model: GPT) -> None:
    texts = [
        "".join(generate(model, TOKENIZER, prompt, max_tokens=8, sampling=GREEDY, seed=seed))
        for prompt, seed in zip(PROMPTS, SEEDS, strict=True)
    ]
    found = rows(model, PROMPTS, SEEDS, GREEDY)
    ended = [row.ids[: next((n for n, i in enumerate(row.ids) if i in TOKENIZER.end_ids), 8)] for row in found]
    assert [TOKENIZER.decode(ids) for ids in ended] == texts


def test_the_seed_decides_and_not_the_place(model: GPT) -> None:
    first, second, third = rows(model, [PROMPTS[0]] * 3, [1, 2, 1])
    assert first == third
    assert first != second


def test_a_row_ends_at_an_end_and_the_others_go_on(model: GPT) -> None:
    whole = alone(model)
    ends = frozenset({whole[0].ids[2], whole[3].ids[5]})
    found = rows(model, PROMPTS, SEEDS, stop_ids=ends)
    for row, long in zip(found, whole, strict=True):
        place = next((place for place, token in enumerate(long.ids) if token in ends), None)
        if place is None:
            assert row == long
        else:
            assert row == completion(long.ids[:place], "stop", long.ids[place])
    assert {row.finish_reason for row in found} >= {"stop"}
    assert found[0].finish_reason == "stop"
    assert alone(model, stop_ids=ends) == found


def test_a_row_ends_where_its_own_context_is_full(model: GPT) -> None:
    found = rows(model, PROMPTS, SEEDS, max_tokens=20)
    for prompt, row in zip(PROMPTS, found, strict=True):
        room = CONTEXT - len(prompt)
        assert (len(row.ids), row.finish_reason) == ((room, "context") if room < 20 else (20, "length"))
    assert {row.finish_reason for row in found} == {"context", "length"}
    assert alone(model, max_tokens=20) == found


def test_a_prompt_that_nearly_fills_the_context_gets_one_token(model: GPT) -> None:
    (row,) = rows(model, [[65] * (CONTEXT - 1)], [0])
    assert (len(row.ids), row.finish_reason) == (1, "context")


def test_a_prompt_that_leaves_no_room_is_refused(model: GPT) -> None:
    with pytest.raises(ContextOverflowError, match="24 tokens and the model's context holds 24"):
        rows(model, [[65], [65] * CONTEXT], [0, 0])


def test_no_prompts_and_no_tokens_give_nothing(model: GPT) -> None:
    assert rows(model, [], []) == []
    assert rows(model, [[65]], [0], max_tokens=0) == [completion([], "length")]


def test_progress_is_observed(model: GPT) -> None:
    seen: list[int] = []
    generate_batch(
        model, None, PROMPTS, max_tokens=1, sampling=GREEDY, seeds=SEEDS, max_num_seqs=4, observe=seen.append
    )
    assert seen == [4, 6]


@pytest.mark.parametrize("kind", attention.KINDS.names())
def test_rows_of_every_kind_of_attention_are_the_same_in_company(kind: str) -> None:
    """Among rows that end and are dropped, and contexts that fill up and lose their padding."""
    table = {"vocab_size": TOKENIZER.vocab_size, "context_length": CONTEXT, "init": "gpt2", "attention": {"kind": kind}}
    if kind == "sliding_window":
        table["attention"]["window_size"] = 5
    made = GPT(preset("smith", **table, embed_dim=32, num_layers=2, num_heads=2, head_dim=16), seed=5).double().eval()
    with torch.no_grad():
        made.head.weight.mul_(20)
    found = rows(made, PROMPTS, SEEDS, max_tokens=22, stop_ids=(ends := frozenset(range(0, 256, 80))))
    assert found == alone(made, max_tokens=22, stop_ids=ends)
    assert {row.finish_reason for row in found} >= {"stop", "context"}


def test_a_text_ends_at_a_stop_string(model: GPT) -> None:
    bytes_alone = [[token for token in each.ids if token < 256] for each in alone(model)]
    stop = [TOKENIZER.decode(bytes_alone[0])[3], TOKENIZER.decode(bytes_alone[3])[2:4]]
    found = generate_batch(
        model, TOKENIZER, PROMPTS, max_tokens=8, sampling=GREEDY, seeds=SEEDS, stop=stop
    )  # fmt: skip
    for prompt, seed, batched in zip(PROMPTS, SEEDS, found, strict=True):
        one = generate(model, TOKENIZER, prompt, max_tokens=8, sampling=GREEDY, seed=seed, stop=stop)
        assert ("".join(one), one.finish_reason) == (batched.text, batched.finish_reason)


def test_texts_that_have_ended_are_not_computed_on(monkeypatch: pytest.MonkeyPatch, model: GPT) -> None:
    sizes: list[int] = []
    plain = GPT.hidden

    def spy(self: GPT, input_ids: torch.Tensor, **others: object) -> torch.Tensor:
        sizes.append(input_ids.numel())
        return plain(self, input_ids, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(GPT, "hidden", spy)
    first, other, *_ = alone(model)
    place = next(place for place, token in enumerate(first.ids) if token not in [*first.ids[:place], *other.ids])
    sizes.clear()
    rows(model, [PROMPTS[0]] * 4 + [PROMPTS[1]], [SEEDS[0]] * 4 + [SEEDS[1]], stop_ids=frozenset({first.ids[place]}))
    assert sizes[0] == 4 * len(PROMPTS[0]) + len(PROMPTS[1])
    assert sizes[1 : place + 1] == [5] * place
    assert sum(sizes[place + 1 :]) >= 7 - place  # with proposals
    assert len(sizes) <= 8
