"""Generation against a plain loop."""

from __future__ import annotations

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.generate import sampler
from gptsmith.generate.api import generate
from gptsmith.generate.sampling import SamplingSettings, sample_from_uniform
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.tokenizers import KINDS

TOKENIZER = KINDS.validate("bytes").train(list, 0)
GREEDY = SamplingSettings(temperature=0)


@pytest.fixture(scope="module")
def model() -> GPT:
    table = {"vocab_size": TOKENIZER.vocab_size, "context_length": 32, "init": "gpt2"}
    made = GPT(preset("smith", **table, embed_dim=64, num_layers=2, num_heads=2, head_dim=32), seed=5)
    with torch.no_grad():
        made.head.weight.mul_(20)
    return made.eval()


def script(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Has these tokens sampled, and then the end of the document."""
    tokens = iter([*data, TOKENIZER.eos_token_id])
    monkeypatch.setattr(sampler, "sample_from_uniform", lambda logits, *_: torch.tensor([next(tokens)]))


def written(model: GPT, **options: object) -> list[str]:
    return list(generate(model, TOKENIZER, "a", **options))


def test_greedy_equals_a_loop_without_a_cache(model: GPT) -> None:
    ids = TOKENIZER.encode("ab")
    with torch.no_grad():
        for _ in range(20):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    generation = generate(model, TOKENIZER, "ab", max_tokens=20, sampling=GREEDY)
    assert "".join(generation) == TOKENIZER.decode(ids[2:])
    assert generation.finish_reason == "length"
    assert (generation.num_prompt_tokens, generation.num_tokens) == (2, 20)


def test_the_seed_decides(model: GPT) -> None:
    hot = SamplingSettings(temperature=2.0)
    texts = ["".join(generate(model, TOKENIZER, "a", max_tokens=20, sampling=hot, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_characters_come_whole_however_tokens_cut_them(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, "é🙂x".encode() + b"\xff\xe6")
    assert written(model) == ["é", "🙂", "x", "\ufffd"]  # the last byte begins a character, of which no half is written


@pytest.mark.parametrize(
    ("stop", "expected"),
    [(["END"], "one EN two "), (["zzz"], "one EN two END three"), (["three", "two"], "one EN "), (["o"], "")],
)
def test_stop_strings_end_the_text_and_what_only_began_one_is_released(
    model: GPT, monkeypatch: pytest.MonkeyPatch, stop: list[str], expected: str
) -> None:
    script(monkeypatch, b"one EN two END three")
    generation = generate(model, TOKENIZER, "a", stop=stop)
    assert "".join(generation) == expected == generation.text
    assert generation.finish_reason == "stop"


def test_the_end_of_the_document_ends_the_text(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, b"")
    generation = generate(model, TOKENIZER, "a")
    assert list(generation) == []
    assert generation.finish_reason == "stop"


def test_a_full_context_ends_the_text_or_slides(model: GPT) -> None:
    hot = SamplingSettings(temperature=2.0)
    ended = generate(model, TOKENIZER, "abcd", max_tokens=100, sampling=hot, seed=1)
    list(ended)
    assert (ended.finish_reason, ended.num_tokens) == ("context", 32 - 4)
    slid = generate(model, TOKENIZER, "abcd", max_tokens=100, sampling=hot, seed=1, slide=True)
    list(slid)
    assert (slid.finish_reason, slid.num_tokens) == ("length", 100)
    assert slid.text.startswith(ended.text)


def test_a_long_prompt_is_refused_with_both_lengths(model: GPT) -> None:
    with pytest.raises(UserError, match=r"has 40 tokens .* holds 32"):
        generate(model, TOKENIZER, "x" * 40)
    assert "".join(generate(model, TOKENIZER, "x" * 40, max_tokens=3, slide=True))


def test_an_empty_prompt_starts_a_document(model: GPT) -> None:
    assert generate(model, TOKENIZER, "").prompt_ids == [TOKENIZER.eos_token_id]


def test_an_empty_stop_string_is_refused(model: GPT) -> None:
    with pytest.raises(UserError, match="stop string is empty"):
        generate(model, TOKENIZER, "a", stop=[""])


def frequencies(settings: SamplingSettings) -> list[float]:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().expand(20_000, 4)
    uniforms = torch.rand(len(logits), generator=torch.Generator().manual_seed(0)).tolist()
    drawn = sample_from_uniform(logits, settings, uniforms)
    return (torch.bincount(drawn, minlength=4) / len(drawn)).tolist()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SamplingSettings(temperature=1), [0.5, 0.3, 0.15, 0.05]),
        (SamplingSettings(temperature=1, top_k=2), [0.625, 0.375, 0, 0]),
        (SamplingSettings(temperature=1, top_p=0.8), [0.625, 0.375, 0, 0]),
        (SamplingSettings(temperature=1, top_p=0.81), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        (SamplingSettings(temperature=0.5), [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        (SamplingSettings(temperature=0), [1, 0, 0, 0]),
        (SamplingSettings(temperature=1, top_k=1), [1, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should(settings: SamplingSettings, expected: list[float]) -> None:
    for found, wanted in zip(frequencies(settings), expected, strict=True):
        assert abs(found - wanted) < 0.015
        assert wanted > 0 or found == 0
