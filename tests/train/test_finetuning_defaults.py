"""The training settings that nobody sets: rates by size and kind, warm-up in short runs, clipping."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.finetuning_defaults import training_table, usual_learning_rate
from gptsmith.train.objectives import KINDS
from gptsmith.train.objectives.dpo import DpoSettings
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.objectives.reward_model import RewardModelSettings
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.objectives.simpo import SimpoSettings
from gptsmith.train.schedule import ScheduleSettings, lr_multiplier
from tests.train.fakes import SHAPE, Numbers, World

WIDTH_OF_SMOLLM2, PARAMETERS_OF_SMOLLM2 = 576, 134_515_008


@pytest.mark.parametrize("name", KINDS.names())
@pytest.mark.parametrize("adapts", [False, True])
def test_a_wider_model_has_a_lower_rate(name: str, adapts: bool) -> None:
    widths = (64, 128, 576, 4096)
    rates = [usual_learning_rate(KINDS.settings(name), width, 10**9, adapts=adapts) for width in widths]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] / rates[-1] == pytest.approx(64, rel=0.1)


def test_the_rates_are_those_at_which_a_real_model_lives() -> None:
    """As measured with SmolLM2-135M-Instruct: LOG.md has the sweep."""

    def rate(objective: Any, adapts: bool) -> float:
        return usual_learning_rate(objective, WIDTH_OF_SMOLLM2, PARAMETERS_OF_SMOLLM2, adapts=adapts)

    assert 1e-5 <= rate(DpoSettings, False) <= 3e-5
    assert 1e-4 <= rate(DpoSettings, True) <= 5e-4
    assert 1e-5 <= rate(SimpoSettings, False) <= 1.2e-5
    assert 5e-5 <= rate(SftSettings, False) <= 2e-4
    assert 2.8e-5 <= rate(RewardModelSettings, False) <= 5.6e-5
    assert 4e-5 <= rate(SftSettings, True) <= 7e-5


def table_of(folder: Path, num_steps: int, lora: int | None = None, **given: Any) -> dict[str, Any]:
    linear = {} if lora is None else {"linear": {"kind": "lora", "rank": lora}}
    model = GPT(preset("smith", **SHAPE, **linear))
    given = {"batch_size": 4, "num_steps": num_steps, **given}
    return training_table(given, None, SftSettings(), model, Numbers(World(folder)))


@pytest.mark.parametrize("num_steps", [2, 8, 30, 1000])
def test_short_runs_warm_up_too(tmp_path: Path, num_steps: int) -> None:
    table = table_of(tmp_path, num_steps)
    schedule = ScheduleSettings(**table["schedule"])
    assert lr_multiplier(0, num_steps, schedule) <= 0.5
    assert table["schedule"]["warmup_steps"] <= 0.1 * num_steps + 1


def test_rates_are_those_of_the_size_and_the_kind_of_tuning(tmp_path: Path) -> None:
    for lora in (None, 4):
        rate = table_of(tmp_path, 8, lora)["optimizer"]["learning_rate"]
        linear = {} if lora is None else {"linear": {"kind": "lora", "rank": lora}}
        size = cost(preset("smith", **SHAPE, **linear)).num_parameters
        assert rate == usual_learning_rate(SftSettings, SHAPE["embed_dim"], size, adapts=lora is not None)


def test_small_models_learn_answers_at_a_higher_rate() -> None:
    """As measured with the demo's base of 4.36M parameters: LOG.md has the figures."""

    def rate(objective: Any, size: int, *, adapts: bool = False) -> float:
        return usual_learning_rate(objective, 256, size, adapts=adapts)

    assert rate(SftSettings, 4_360_960) == pytest.approx(4.8 * rate(SftSettings, 10**8), rel=0.05)
    assert rate(SftSettings, 10**4) == pytest.approx(5 * rate(SftSettings, 10**8), rel=0.05)
    assert rate(SftSettings, 4_360_960, adapts=True) == rate(SftSettings, 10**4, adapts=True) == 1e-2
    for adapts in (False, True):
        assert rate(SftSettings, 10**8, adapts=adapts) == rate(SftSettings, 10**10, adapts=adapts)
        assert rate(DpoSettings, 4_360_960, adapts=adapts) == rate(DpoSettings, 10**10, adapts=adapts)


def test_gradients_are_clipped_unless_someone_says_otherwise(tmp_path: Path) -> None:
    assert table_of(tmp_path, 8)["max_gradient_norm"] == 1.0
    assert table_of(tmp_path, 8, max_gradient_norm=None)["max_gradient_norm"] is None


def test_adapters_that_are_trained_privately_learn_faster_in_their_few_steps() -> None:
    shape = {"vocab_size": 20, "context_length": 8, "embed_dim": 128, "num_layers": 1, "num_heads": 2}
    lora = {"kind": "lora", "rank": 2, "alpha": 4.0, "base": {"kind": "dense"}}
    model, data = GPT(preset("smith", **shape, linear=lora)), SimpleNamespace(tokens_per_sample=8.0, num_samples=200)
    tables = [
        training_table({"private": private}, None, NextTokenSettings(), model, cast(Dataset, data))
        for private in ({}, {"epsilon": 8.0})
    ]
    usual, private = (table["optimizer"]["learning_rate"] for table in tables)
    assert private == 10 * usual
