"""A tiny model, tokenizers and a stand-in for a model whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from gptsmith.evaluate.language_model import LanguageModel, Observe
from gptsmith.evaluate.loglikelihood import ContinuationScore
from gptsmith.evaluate.prompt import Prompt
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import KINDS

CONTEXT = 64
WORDS = "The old smith forges a nail of iron. Question: who sells 12 ploughs?\nAnswer: the young one\n\nLabel: yes " * 9


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    return KINDS.validate({"kind": "bpe", "vocab_size": 300}).train(lambda: [WORDS], 0)


@pytest.fixture(scope="session")
def characters() -> Tokenizer:
    return KINDS.validate("bytes").train(list, 0)


@pytest.fixture(scope="session")
def make_model() -> Callable[[Tokenizer], GPT]:
    """Models with sharp opinions, in float64."""

    def make(tokenizer: Tokenizer) -> GPT:
        shape = {"context_length": CONTEXT, "embed_dim": 64, "num_layers": 2, "num_heads": 2, "head_dim": 32}
        model = GPT(preset("smith", vocab_size=tokenizer.vocab_size, **shape), seed=5).double().eval()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
        return model

    return make


class Scripted(LanguageModel):
    """Finds the choice likeliest that a function names, and replies what it says."""

    def __init__(self, answer: Callable[[Prompt], str]) -> None:
        self.answer, self.template, self.num_truncated = answer, None, 0
        self.prompts: list[Prompt] = []

    def score_choices(
        self, questions: Sequence[tuple[Prompt, Sequence[str]]], observe: Observe = lambda _: None
    ) -> list[list[ContinuationScore]]:
        self.prompts += [prompt for prompt, _ in questions]
        return [
            [ContinuationScore(0.0 if choice == self.answer(prompt) else -50.0, 1, False) for choice in choices]
            for prompt, choices in questions
        ]

    def reply(self, prompts: Sequence[Prompt], max_tokens: int, observe: Observe = lambda _: None) -> list[str]:
        self.prompts += prompts
        return [self.answer(prompt) for prompt in prompts]


@pytest.fixture
def scripted() -> Any:
    return Scripted
