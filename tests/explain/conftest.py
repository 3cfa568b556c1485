"""A tokenizer whose words are tokens, and small models that know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings

TEXT = (
    "The old smith sold one sword before winter came. Then she went home, tired but glad of her trade!\n"
    "Nobody in the village had seen such iron. What did she sell? A"
)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Every word of TEXT is a token."""
    return BPETokenizerSettings().train(lambda: [f" {TEXT}" * 4], 2000)


def random_model(vocab_size: int, attention: str = "full", position: str = "rotary", **changes: Any) -> GPT:
    """A tiny float64 model all of whose weights are drawn anew."""
    kind: dict[str, Any] = {"kind": attention}
    if attention == "sliding_window":
        kind["window_size"] = 5
    table = {
        "vocab_size": vocab_size, "context_length": 128, "embed_dim": 32, "num_layers": 2, "num_heads": 4,
        "attention": kind, "position": {"kind": position}, **changes,
    }  # fmt: skip
    model = GPT(GPTConfig.parse(table)).double().eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return model


@pytest.fixture(scope="session")
def question(tokenizer: Tokenizer) -> Callable[..., Question]:
    """A question about TEXT to a random model, or to another."""
    usual = Question(random_model(tokenizer.vocab_size), tokenizer, Prompt.of_text(tokenizer, TEXT), 40, 41)

    def made(**changes: Any) -> Question:
        return replace(usual, held_out_ids=tuple(range(30, 60)), **changes)

    return made
