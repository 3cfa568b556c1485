"""How sure a model was."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gptsmith.explain.methods import DEFAULT_METHODS, KINDS
from gptsmith.explain.methods.alternatives import AlternativesSettings
from gptsmith.explain.question import Question


@torch.no_grad()
def test_probabilities_ranks_and_bits_are_those_of_the_logits(question: Callable[..., Question]) -> None:
    asked = question()
    probabilities = asked.model(torch.tensor([asked.ids]))[0, -1].softmax(-1)
    order = probabilities.argsort(descending=True).tolist()
    asked = question(target=order[2], against=order[0])
    assert asked.target_choice.rank == 3
    assert asked.choice(order[0]).rank == 1
    [claim] = AlternativesSettings(num_alternatives=4).explain(asked)
    assert [math.exp(item.change) for item in claim.items] == pytest.approx(probabilities[order[:4]].tolist())
    assert [item.is_named for item in claim.items] == [False, False, True, False]
    assert claim.rest == pytest.approx(float(1 - probabilities[order[:4]].sum()))
    assert f"{-math.log2(probabilities[order[2]]):.1f} bits" in claim.says
    assert "choice number 3" in claim.says
    assert "Chance took it" in claim.says
    [claim] = AlternativesSettings().explain(question(target=order[0], against=order[1]))
    assert "its first choice, a" in claim.says
    assert "Chance" not in claim.says
    assert claim.verdict == "not tested"


def test_the_default_methods_exist() -> None:
    assert set(DEFAULT_METHODS) <= {*KINDS.names(), "leave_one_out"}
