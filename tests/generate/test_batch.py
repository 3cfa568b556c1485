"""Many prompts at once: each row is the one that it would be alone."""

from __future__ import annotations

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.generate.api import generate
from gptsmith.generate.batch import Row, generate_rows
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
    end_ids: frozenset[int] = frozenset(),
    rows_at_once: int = 64,
) -> list[Row]:
    return generate_rows(
        model, prompts, max_tokens=max_tokens, sampling=sampling, seeds=seeds, end_ids=end_ids,
        rows_at_once=rows_at_once,
    )  # fmt: skip


def alone(model: GPT, **options: object) -> list[Row]:
    return [rows(model, [prompt], [seed], **options)[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]


@pytest.mark.parametrize("sampling", [GREEDY, HOT])
@pytest.mark.parametrize("rows_at_once", [1, 2, 4, 64])
def test_a_row_is_the_same_whatever_its_company(model: GPT, sampling: SamplingSettings, rows_at_once: int) -> None:
    expected = alone(model, sampling=sampling)
    assert len({tuple(row.ids) for row in expected}) > 3
    assert rows(model, PROMPTS, SEEDS, sampling, rows_at_once=rows_at_once) == expected
    backwards = rows(model, PROMPTS[::-1], SEEDS[::-1], sampling, rows_at_once=rows_at_once)
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
    found = rows(model, PROMPTS, SEEDS, end_ids=ends)
    for row, long in zip(found, whole, strict=True):
        place = next((place for place, token in enumerate(long.ids) if token in ends), None)
        if place is None:
            assert row == long
        else:
            assert row == Row(long.ids[:place], "stop", long.ids[place])
    assert {row.finish_reason for row in found} >= {"stop"}
    assert found[0].finish_reason == "stop"
    assert alone(model, end_ids=ends) == found


def test_a_row_ends_where_its_own_context_is_full(model: GPT) -> None:
    found = rows(model, PROMPTS, SEEDS, max_tokens=20)
    for prompt, row in zip(PROMPTS, found, strict=True):
        # The last token is written and not read, so it needs no place.
        room = CONTEXT + 1 - len(prompt)
        assert (len(row.ids), row.finish_reason) == ((room, "context") if room < 20 else (20, "length"))
    assert {row.finish_reason for row in found} == {"context", "length"}
    assert alone(model, max_tokens=20) == found


def test_a_prompt_that_fills_the_context_gets_one_token(model: GPT) -> None:
    (row,) = rows(model, [[65] * CONTEXT], [0])
    assert (len(row.ids), row.finish_reason) == (1, "context")


def test_a_prompt_that_is_too_long_is_refused(model: GPT) -> None:
    with pytest.raises(UserError, match="25 tokens does not fit in the model's context of 24"):
        rows(model, [[65], [65] * (CONTEXT + 1)], [0, 0])


def test_no_prompts_and_no_tokens_give_nothing(model: GPT) -> None:
    assert rows(model, [], []) == []
    assert rows(model, [[65]], [0], max_tokens=0) == [Row([], "length")]


def test_progress_is_told(model: GPT) -> None:
    seen: list[int] = []
    generate_rows(
        model, PROMPTS, max_tokens=1, sampling=GREEDY, seeds=SEEDS, end_ids=frozenset(), rows_at_once=4,
        observe=seen.append,
    )  # fmt: skip
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
    found = rows(made, PROMPTS, SEEDS, max_tokens=22, end_ids=(ends := frozenset(range(0, 256, 80))))
    assert found == alone(made, max_tokens=22, end_ids=ends)
    assert {row.finish_reason for row in found} >= {"stop", "context"}


def test_an_answer_ends_where_it_is_said_to(model: GPT) -> None:
    whole = alone(model)
    found = generate_rows(
        model, PROMPTS, max_tokens=8, sampling=HOT, seeds=SEEDS, end_ids=frozenset(), ends=lambda ids: ids[-1] % 3 == 0
    )
    for row, long in zip(found, whole, strict=True):
        length = next((place for place, token in enumerate(long.ids, 1) if token % 3 == 0), None)
        assert row == (long if length is None else Row(long.ids[:length], "stop"))
    assert {row.finish_reason for row in found} >= {"stop"}


def test_rows_that_have_ended_are_not_computed_on(monkeypatch: pytest.MonkeyPatch, model: GPT) -> None:
    sizes: list[int] = []
    plain = GPT.hidden

    def spy(self: GPT, input_ids: torch.Tensor, *others: object) -> torch.Tensor:
        sizes.append(len(input_ids))
        return plain(self, input_ids, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(GPT, "hidden", spy)
    first, other, *_ = alone(model)
    place = next(place for place, token in enumerate(first.ids) if token not in [*first.ids[:place], *other.ids])
    sizes.clear()
    generate_rows(
        model, [PROMPTS[0]] * 4 + [PROMPTS[1]], max_tokens=8, sampling=HOT, seeds=[SEEDS[0]] * 4 + [SEEDS[1]],
        end_ids=frozenset({first.ids[place]}),
    )  # fmt: skip
    assert sizes == [5] * (place + 1) + [1] * (7 - place)
