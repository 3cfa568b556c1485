"""Integrated gradients from the mean embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.explain.methods import integrated_gradients as methods
from gptsmith.explain.methods.integrated_gradients import (
    COMPLETE,
    IntegratedGradientsSettings,
    complete_attributions,
    integrated_gradients,
)
from gptsmith.explain.question import Question
from gptsmith.generate.inference_model import inference_model
from gptsmith.model import attention
from gptsmith.model.taps import tapped
from tests.explain.conftest import random_model


@pytest.mark.parametrize("kind", attention.KINDS.names())
def test_attributions_are_the_sum_over_the_path(kind: str, question: Callable[..., Question]) -> None:
    asked = question(model=random_model(question().tokenizer.vocab_size, kind, norm_placement="sandwich"))
    model, ids = asked.model, torch.tensor([asked.ids])
    vectors = model.embedding(ids).detach()
    base = model.embedding.weight.detach().mean(dim=0).expand_as(vectors)
    expected = torch.zeros(len(asked.ids), dtype=torch.float64)
    for place, weight in ((0.1127016654, 5 / 18), (0.5, 8 / 18), (0.8872983346, 5 / 18)):  # Gauss and Legendre's three
        point = (base + place * (vectors - base)).requires_grad_()
        with tapped(model, {"embedding": lambda _, point=point: point}) as copied:
            logits = copied(ids)[0, -1]
        (logits[asked.target] - logits[asked.against]).backward(inputs=[point])
        assert point.grad is not None
        expected += weight * (point.grad * (vectors - base)).sum(dim=-1)[0]
    found, change = integrated_gradients(asked, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    with torch.no_grad(), tapped(model, {"embedding": lambda _: base}) as copied:
        logits = copied(ids)[0, -1]
    assert change == pytest.approx(asked.difference - float(logits[asked.target] - logits[asked.against]))


def test_steps_are_doubled_until_the_attributions_are_complete(question: Callable[..., Question]) -> None:
    asked = question()
    found, rest, steps = complete_attributions(asked, 1)
    _, change = integrated_gradients(asked, 1)
    assert steps > 1
    assert abs(rest) <= COMPLETE * abs(change)
    assert rest == pytest.approx(change - float(found.sum()))
    [claim] = IntegratedGradientsSettings(by="tokens").explain(asked)
    assert len(claim.items) == len(asked.units("tokens"))
    assert sum(item.change for item in claim.items) == pytest.approx(float(found.sum()), abs=0.05 * abs(change))
    assert all(parameter.grad is None for parameter in asked.model.parameters())


@pytest.mark.parametrize("linear", ["int8", {"kind": "lora", "base": "int8"}], ids=str)
def test_integers_are_refused(linear: Any, question: Callable[..., Question]) -> None:
    model = random_model(question().tokenizer.vocab_size, linear=linear).float()
    for each in (model, inference_model(model)):
        with pytest.raises(UserError, match=r"no gradient passes through weights of int8.*leave_one_out"):
            IntegratedGradientsSettings().explain(question(model=each))


def test_what_does_not_converge_is_no_explanation(
    question: Callable[..., Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "complete_attributions", lambda *_: (torch.ones(3), 1.0, 128))
    with pytest.raises(UserError, match=r"after 128 steps \+1.00 nats .* still missing.*leave_one_out"):
        IntegratedGradientsSettings().explain(question())
