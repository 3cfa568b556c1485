"""What the parts of a network write adds up to the difference, exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gptsmith.base.errors import UserError
from gptsmith.explain.attribution import BIASES, POSITIONS, direct_contributions
from gptsmith.explain.methods.direct_logit_attribution import DirectLogitAttributionSettings
from gptsmith.explain.parts import parts_of
from gptsmith.explain.question import Question
from gptsmith.generate.inference_model import inference_model
from gptsmith.model import attention, position
from gptsmith.model.taps import record
from tests.explain.conftest import random_model

LORA = {"kind": "lora", "targets": ["attention.*", "feedforward.*", "head"]}
MODELS: list[dict[str, Any]] = [
    *({"attention": kind} for kind in attention.KINDS.names()),
    *({"position": kind} for kind in position.KINDS.names()),
    *({"norm_placement": placement} for placement in ("post", "output", "sandwich")),
    *({"norm_placement": placement, "norm": "layernorm"} for placement in ("post", "output", "sandwich")),
    *({"norm_placement": placement, "parallel_residual": True} for placement in ("pre", "post")),
    {"embedding_multiplier": 3.0, "residual_multiplier": 0.3, "logits_scaling": 2.0, "logits_cap": 2.0},
    {"linear": LORA, "tie_embeddings": True},
    {"feedforward": {"kind": "experts", "num_experts": 4, "experts_per_token": 2}},
]  # fmt: skip


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_the_parts_add_up_to_the_difference(changes: dict[str, Any], question: Callable[..., Question]) -> None:
    asked = question(model=random_model(question().tokenizer.vocab_size, **changes))
    found = direct_contributions(asked)
    assert sum(found.values()) == pytest.approx(asked.difference, abs=1e-9)
    assert set(found) >= {*parts_of(asked.model), "embedding", POSITIONS, BIASES}
    assert (found[POSITIONS] != 0) == (changes.get("position") in ("learned", "sinusoidal"))
    assert (abs(found[BIASES]) > 1e-9) == (changes.get("norm") == "layernorm")


def test_integers_add_up_to_their_rounding(question: Callable[..., Question]) -> None:
    asked = question(model=inference_model(random_model(question().tokenizer.vocab_size, linear="int8").float()))
    assert sum(direct_contributions(asked).values()) == pytest.approx(asked.difference, abs=0.1)
    plain = question(model=random_model(question().tokenizer.vocab_size, linear="int8"))
    assert sum(direct_contributions(plain).values()) == pytest.approx(plain.difference, abs=1e-9)


def test_a_head_adds_what_its_output_adds_to_the_logits(question: Callable[..., Question]) -> None:
    asked = question()
    model, found = asked.model, direct_contributions(asked)
    ids = torch.tensor([asked.ids])
    with torch.no_grad():
        states = record(model, ids, ["blocks.1.output", "blocks.0.attention.heads", "blocks.1.feedforward.output"])
        weights = model.blocks[0].attention.output.weight.view(32, 4, 8)
        x = states["blocks.1.output"][0, -1]
        scale = model.final_norm.weight / (x.square().mean() + model.final_norm.epsilon).sqrt()
        towards = (model.head.weight[asked.target] - model.head.weight[asked.against]) * scale
        for head in range(4):
            written = weights[:, head] @ states["blocks.0.attention.heads"][0, head, -1]
            assert found[f"blocks.0.attention.heads.{head}"] == pytest.approx(float(towards @ written), abs=1e-10)
        assert found["blocks.1.feedforward.output"] == pytest.approx(
            float(towards @ states["blocks.1.feedforward.output"][0, -1]), abs=1e-10
        )


def test_a_head_that_writes_nothing_adds_nothing(question: Callable[..., Question]) -> None:
    model = random_model(question().tokenizer.vocab_size)
    with torch.no_grad():
        model.blocks[1].attention.output.weight.view(32, 4, 8)[:, 2] = 0
    found = direct_contributions(question(model=model))
    assert found["blocks.1.attention.heads.2"] == 0
    assert found["blocks.1.attention.heads.1"] != 0


def test_the_claim_is_tested_by_switching_parts_off(question: Callable[..., Question]) -> None:
    asked = question(model=random_model(question().tokenizer.vocab_size, num_layers=5))
    asked = question(model=asked.model, target=int(asked.logits.argmax()))
    [claim] = DirectLogitAttributionSettings().explain(asked)
    assert claim.test is not None
    assert (claim.test.how, claim.test.num_random, claim.test.num_removed) == ("switched off", 20, len(claim.named))
    assert claim.rest == pytest.approx(asked.difference - sum(item.change for item in claim.named))
    assert ("Because of" in claim.says) == (claim.verdict == "holds")
    assert {item.part for item in claim.items} == {*parts_of(asked.model), "embedding", None}
    assert not [item.text for item in claim.items if "blocks." in item.text]


def test_a_norm_that_cannot_be_frozen_is_refused_by_its_name(question: Callable[..., Question]) -> None:
    class ScaleNorm(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.norm(dim=-1, keepdim=True)

    model = random_model(question().tokenizer.vocab_size)
    model.final_norm = ScaleNorm()
    with pytest.raises(UserError, match=r"ScaleNorm cannot be frozen.*leave_one_out"):
        direct_contributions(question(model=model))
