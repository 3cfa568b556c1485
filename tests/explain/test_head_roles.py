"""Roles of heads: found where they are wired, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain.methods import head_roles as methods
from gptsmith.explain.methods.head_roles import head_roles
from gptsmith.explain.roles import RepeatedText, role_scores
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer
from tests.explain.conftest import random_model

VOCAB, CONTEXT, WIDTH = 40, 32, 40
TOKENIZER = cast(Tokenizer, SimpleNamespace(end_ids=frozenset({0}), prompt_ids=lambda text: [0]))
TOKEN, PLACE, BEFORE, ANSWER = (slice(start, start + size) for start, size in ((0, 40), (40, 32), (72, 40), (112, 40)))
"""The parts of a residual stream that says which token it is, its place, the token before, and the next token."""


@pytest.fixture(scope="module")
def induction_model() -> GPT:
    """Two layers of two heads, of which the first of each copies: the token before; what followed the same token."""
    table = {
        "vocab_size": VOCAB, "context_length": CONTEXT, "embed_dim": 152, "num_layers": 2, "num_heads": 2,
        "head_dim": WIDTH, "attention": {"kind": "full"}, "position": {"kind": "learned"},
        "feedforward": {"kind": "mlp"},
    }  # fmt: skip
    model = GPT(GPTConfig.parse(table)).eval()
    layers: Any = model.blocks
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.zero_()
        model.embedding.weight[:, TOKEN] = torch.eye(VOCAB)
        cast(Any, model.position).embedding.weight[:, PLACE] = torch.eye(CONTEXT)
        model.head.weight[:, ANSWER] = torch.eye(VOCAB)
        first, second = (layer.attention for layer in layers)
        first.query.weight[:CONTEXT, PLACE] = 20 * torch.eye(CONTEXT)
        first.key.weight[:CONTEXT, PLACE] = torch.eye(CONTEXT).roll(1, dims=0)
        first.key.weight[0] = 0
        first.value.weight[:VOCAB, TOKEN] = torch.eye(VOCAB)
        first.output.weight[BEFORE, :VOCAB] = torch.eye(VOCAB)
        second.query.weight[:VOCAB, TOKEN] = 20 * torch.eye(VOCAB)
        second.key.weight[:VOCAB, BEFORE] = torch.eye(VOCAB)
        second.value.weight[:VOCAB, TOKEN] = torch.eye(VOCAB)
        second.output.weight[ANSWER, :VOCAB] = torch.eye(VOCAB)
    return model


def test_a_wired_induction_head_is_found(induction_model: GPT) -> None:
    text = RepeatedText.drawn(induction_model, [0], [0], seed=0)
    scores = role_scores(induction_model, text)
    assert scores["induction"][1, 0] > 0.95
    assert scores["previous"][0, 0] > 0.95
    assert scores["induction"][0].max() < 3 * text.chance
    claims = {claim.says.split(":")[0]: claim for claim in head_roles(induction_model, TOKENIZER)}
    assert list(claims) == [
        "Looks at the token before",
        "Looks at what followed the same token the last time (induction)",
    ]
    assert [[item.part for item in claim.named] for claim in claims.values()] == [
        ["blocks.0.attention.heads.0"],
        ["blocks.1.attention.heads.0"],
    ]
    assert {claim.verdict for claim in claims.values()} == {"holds"}
    assert all(claim.named[0].change > 1 for claim in claims.values())


def test_a_head_that_looks_like_it_and_is_not_missed_has_no_role(induction_model: GPT) -> None:
    weight = cast(Any, induction_model.blocks[1]).attention.output.weight
    kept = weight.clone()
    with torch.no_grad():
        weight.zero_()
        claims = head_roles(induction_model, TOKENIZER)
        weight.copy_(kept)
    assert {claim.verdict for claim in claims} == {"no better than chance", "not tested"}
    assert "No head with a role was found" in claims[-1].says


@pytest.mark.parametrize("kind", ["full", "additive"])
def test_a_random_model_has_none(kind: str) -> None:
    [claim] = head_roles(random_model(64, kind, "learned"), TOKENIZER)
    assert "No head with a role was found" in claim.says
    assert claim.items == []


def test_a_context_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="too small to repeat"):
        head_roles(random_model(64, context_length=8), TOKENIZER)


def test_of_a_dozen_heads_one_is_soon_the_largest_and_not_named(
    monkeypatch: pytest.MonkeyPatch, induction_model: GPT
) -> None:
    rises = {"blocks.0.attention.heads.1": 0.5, "blocks.1.attention.heads.1": -0.3}

    def rise(model: GPT, text: RepeatedText, heads: list[str]) -> list[float]:
        return [rises.get(head, 0.6) for head in heads]

    monkeypatch.setattr(methods, "loss_without", rise)
    assert not any(claim.named for claim in head_roles(induction_model, TOKENIZER))
    rises["blocks.0.attention.heads.1"] = -0.3
    assert all(claim.named for claim in head_roles(induction_model, TOKENIZER))
