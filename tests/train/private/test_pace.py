"""The pace of private steps is measured on units of the mean length, and leaves the model as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from gptsmith.train.batch import Batch
from gptsmith.train.private import pace
from gptsmith.train.private.pace import private_pace
from gptsmith.train.settings import TrainSettings
from tests.model.contracts import build


def test_it_is_that_of_units_of_the_mean_length(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = build().eval(), list[Sequence[Sequence[Batch]]]()

    def step_s(model: object, train: object, units: Sequence[Sequence[Batch]]) -> float:
        seen.append(units)
        return 0.5 + 0.25 * len(units)

    monkeypatch.setattr(pace, "_step_s", step_s)
    train = TrainSettings.parse({"batch_size": 100, "num_steps": 10, "objective": "next_token"}, "train")
    context = model.config.context_length
    found = private_pace(model, train, context + 5)
    assert [len(units) for units in seen] == [0, 1, 2, 4], "until it takes a second"
    assert [[row.input_ids.shape[1] for row in unit] for unit in seen[-1]] == [[context, 5]] * 4
    assert found["seconds_per_step"] == pytest.approx(0.5 + 100 * 0.25)
    assert found["seconds"] == pytest.approx(10 * found["seconds_per_step"])


def test_the_model_is_left_as_it_was() -> None:
    model = build().eval()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    state = torch.random.get_rng_state()
    train: Any = TrainSettings.parse({"batch_size": 2, "num_steps": 10, "objective": "next_token"}, "train")
    assert private_pace(model, train, 6)["seconds"] > 0
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
