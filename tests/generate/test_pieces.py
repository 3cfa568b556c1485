"""Pieces of text: when they are let go, and what a text that slides was made of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptsmith.base.errors import UserError
from gptsmith.generate import sampler
from gptsmith.generate.api import Generation, generate
from gptsmith.generate.engine import Engine
from gptsmith.generate.request import OutputChunk, Request
from gptsmith.generate.sampling import SamplingSettings, sample_from_uniform
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.tokenizers import KINDS

TOKENIZER = KINDS.validate("bytes").train(list, 0)
CONTEXT = 12


def small(position: str = "rotary", context_length: int = CONTEXT) -> GPT:
    shape = {"context_length": context_length, "embed_dim": 32, "num_layers": 2, "num_heads": 2, "head_dim": 16}
    table = {"vocab_size": TOKENIZER.vocab_size, "init": "gpt2", "position": {"kind": position}}
    model = GPT(preset("smith", **shape, **table), seed=5)
    with torch.no_grad():
        model.head.weight.mul_(20)
        model.head.weight[256:] = 0  # no special token is ever the likeliest
        model.head.weight[: 2**5] = 0
    return model.eval()


MODEL = small("none", context_length=64)


def replay(data: bytes, stop: list[str]) -> Generation:
    """A generation whose tokens are given."""
    engine = Engine(MODEL, TOKENIZER)
    request = Request([0], max(len(data), 1), stop=stop)
    tokens = iter([*data, TOKENIZER.eos_token_id])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "sample_from_uniform", lambda logits, *_: torch.tensor([next(tokens)]))
        chunks = list(engine.stream(request))
    return Generation(Replay(chunks), request)  # type: ignore[arg-type]


class Replay:
    """An engine that gives these chunks."""

    def __init__(self, chunks: list[OutputChunk]) -> None:
        self.chunks = chunks

    def stream(self, request: Request) -> Iterator[OutputChunk]:
        return iter(self.chunks)


@given(st.text("ab\né", max_size=20), st.lists(st.text("abé", min_size=1, max_size=4), max_size=3))
def test_stop_strings_across_any_tokens(text: str, stop: list[str]) -> None:
    generation = replay(text.encode(), stop)
    pieces = list(generation)
    assert "".join(pieces) == generation.text
    assert all(pieces)
    cuts = [text[: text.index(one)] for one in stop if one in text]
    if not cuts:
        assert (generation.text, generation.finish_reason) == (text, "length" if text else "stop")
    else:
        assert generation.finish_reason == "stop"
        # The text ends with the first stop string that is complete, and holds none.
        assert generation.text in cuts
        assert not any(one in generation.text for one in stop)


def test_only_what_may_begin_a_stop_string_is_held_back() -> None:
    assert list(replay(b"aENxEND", ["END"])) == ["a", "ENx"]
    assert list(replay(b"aEN", ["END"])) == ["a", "EN"]
    assert list(replay(b"aabaabaac", ["aabaac"])) == ["aab"]


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        ("é🙂".encode(), ["é", "🙂"]),
        ("🙂".encode()[:3], []),
        (b"\xe6a", ["\ufffda"]),
        (b"\xff\xff", ["\ufffd", "\ufffd"]),
    ],
)
def test_bytes_become_characters(data: bytes, pieces: list[str]) -> None:
    assert list(replay(data, [])) == pieces


def test_a_stop_string_in_cut_characters() -> None:
    assert "".join(replay("a🙂b".encode(), ["🙂"])) == "a"


@pytest.mark.parametrize("position", ["rotary", "learned", "alibi", "sinusoidal", "none"])
@torch.no_grad()
def test_a_text_that_slides_equals_a_loop_without_a_cache(position: str) -> None:
    """Whenever the context is full, half of it is kept and read anew from position 0."""
    model = small(position)
    ids, read = TOKENIZER.encode("abcde"), TOKENIZER.encode("abcde")
    for _ in range(30):
        if len(read) > CONTEXT:
            read = read[-CONTEXT // 2 :]
        token = int(model(torch.tensor([read]))[0, -1].argmax())
        ids, read = [*ids, token], [*read, token]
    generation = generate(
        model, TOKENIZER, "abcde", max_tokens=30, sampling=SamplingSettings(temperature=0), slide=True
    )
    assert "".join(generation) == TOKENIZER.decode(ids[5:])
    assert generation.num_tokens == 30


def test_a_long_prompt_slides_on_from_its_end() -> None:
    model, cold = small(), SamplingSettings(temperature=0)
    long, short = "x" * 30 + "abcdefghijkl", "abcdefghijkl"
    texts = ["".join(generate(model, TOKENIZER, p, max_tokens=9, sampling=cold, slide=True)) for p in (long, short)]
    assert texts[0] == texts[1] != ""
    assert generate(model, TOKENIZER, short[:-1]).num_prompt_tokens == CONTEXT - 1
    with pytest.raises(UserError, match=r"has 12 tokens and the model's context holds 12: .*--slide"):
        generate(model, TOKENIZER, short)


def test_no_tokens_are_asked_for() -> None:
    generation = generate(small(), TOKENIZER, "a", max_tokens=0)
    assert (list(generation), generation.finish_reason, generation.num_tokens) == ([], "length", 0)


def test_the_global_generator_has_no_say() -> None:
    hot, model, texts = SamplingSettings(temperature=1.5), small(), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        texts.append("".join(generate(model, TOKENIZER, "a", max_tokens=9, sampling=hot, seed=3)))
    assert texts[0] == texts[1]


def test_top_k_and_top_p_keep_at_least_the_likeliest() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 4.9]])
    uniforms = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)).tolist()
    for settings in (SamplingSettings(top_k=1), SamplingSettings(top_p=1e-9), SamplingSettings(temperature=0)):
        for pair in uniforms:
            assert sample_from_uniform(logits, settings, pair).tolist() == [1, 0]


def test_top_k_cuts_before_top_p() -> None:
    """Of 0.4, 0.3, 0.2, 0.1 two are left by top_k; over those, 0.57 and 0.43, top_p = 0.5 leaves one."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log().expand(2000, 4)
    both = SamplingSettings(temperature=1, top_k=2, top_p=0.5)
    uniforms = torch.rand(2000, generator=torch.Generator().manual_seed(0)).tolist()
    assert sample_from_uniform(logits, both, uniforms).unique().tolist() == [0]
    more = SamplingSettings(temperature=1, top_k=10, top_p=1)
    assert sample_from_uniform(logits, more, uniforms).unique().tolist() == [0, 1, 2, 3]
