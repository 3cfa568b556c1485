"""The training settings of a fine-tuning job that nobody sets."""

from __future__ import annotations

import math
from typing import Any

import torch

from gptsmith.base.settings import merged
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.objectives import RATE_WIDTH, ObjectiveSettings

TOKENS_PER_STEP, LEAST_ROWS, MOST_ROWS = 1024, 8, 32
"""A step has about so many tokens, and not fewer or more samples than these."""
LEAST_STEPS = 8
"""Of an epoch of few examples."""
NUM_EVALUATIONS = 10
WARMUP_FRACTION = 0.1
"""Of all steps, in short runs too: Adam's first step moves every weight by its whole rate."""
MAX_GRADIENT_NORM = 1.0
SMALL_PARAMETERS = 1e8
"""Models of fewer parameters than this know little that a higher rate could ruin, and learn too slowly without it."""
ROOT, MOST_RAISED = 0.5, 5.0
"""Their rate is higher by this power of how many times smaller they are, up to so many times: more was not measured."""
ADAPTERS_POWER, MOST_OF_ADAPTERS = 1.4, 1e-2
"""The same power for adapters, which learn more slowly than all weights of a small model; and their highest rate."""

PRIVATE_TIMES_HIGHER = 10.0
"""The rate of adapters that are trained privately, which take few steps of large batches (LOG.md)."""


def training_table(
    given: dict[str, Any], epochs: float | None, objective: ObjectiveSettings, model: GPT, dataset: Dataset
) -> dict[str, Any]:
    """All settings of the training, with the given ones on top."""
    wanted = min(max(round(TOKENS_PER_STEP / dataset.tokens_per_sample), LEAST_ROWS), MOST_ROWS)
    rows = given.get("batch_size", min(wanted, max(1, dataset.num_samples // LEAST_STEPS)))
    epochs = epochs or objective.usual_epochs
    num_steps = given.get("num_steps", max(1, math.ceil(epochs * dataset.num_samples / rows)))
    defaults = {
        "batch_size": rows,
        **step_table(num_steps),
        "optimizer": _optimizer(objective, model, is_private="epsilon" in given.get("private", {})),
        "stability": {"spike_deviations": 100.0},  # one of the few examples of a step may be hard: that is no spike
        "max_gradient_norm": MAX_GRADIENT_NORM,
        "evaluate_at_start": True,
    }
    return {**merged(defaults, given), "objective": objective.plain()}


def step_table(num_steps: int) -> dict[str, Any]:
    """The settings that follow from the number of steps."""
    every = max(1, num_steps // NUM_EVALUATIONS)
    return {
        "num_steps": num_steps,
        "schedule": {
            "warmup_steps": math.ceil(WARMUP_FRACTION * num_steps),
            "decay_fraction": 0.9,
            "min_lr_ratio": 0.0,
        },
        "evaluate_every_steps": every,
        "sample_every_steps": 2 * every,
    }


def _optimizer(objective: ObjectiveSettings, model: GPT, *, is_private: bool) -> dict[str, Any]:
    adapts = model.config.linear.has_adapters
    figures = cost(model.config)
    rate = usual_learning_rate(objective, model.config.embed_dim, figures.num_parameters, adapts=adapts)
    if is_private and adapts:
        rate = max(rate, min(PRIVATE_TIMES_HIGHER * rate, MOST_OF_ADAPTERS))
    optimizer: dict[str, Any] = {"kind": "adamw", "learning_rate": rate, "weight_decay": 0.01}
    if not adapts:
        optimizer["embedding_lr_multiplier"] = _embedding_lr_multiplier(model)
    return optimizer


def usual_learning_rate(
    objective: ObjectiveSettings | type[ObjectiveSettings], width: int, num_parameters: int, *, adapts: bool
) -> float:
    """The learning rate of an objective that nobody sets, in two digits: that at `RATE_WIDTH`, over how many times
    wider the model is; if the objective says so, times a power of how many times fewer parameters than
    `SMALL_PARAMETERS` a small model has (LOG.md).

    A step of Adam moves a sum over C inputs by C times its rate: the same change of what a layer puts out takes a rate
    of 1 / C (Yang et al. 2022, table 3).
    """
    rate = objective.usual_lora_learning_rate if adapts else objective.usual_learning_rate
    times_smaller = max(1.0, SMALL_PARAMETERS / num_parameters)
    rate *= RATE_WIDTH / width
    if objective.raises_small_rates and adapts:
        rate = max(rate, min(rate * times_smaller**ADAPTERS_POWER, MOST_OF_ADAPTERS))
    elif objective.raises_small_rates:
        rate *= min(times_smaller**ROOT, MOST_RAISED)
    return float(f"{rate:.2g}")


@torch.no_grad()
def _embedding_lr_multiplier(model: GPT) -> float:
    """How many times larger the embedding's numbers are than those of the blocks' matrices, in two digits."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    if not matrices:
        return 1.0
    total = sum(float(p.float().square().sum()) for p in matrices) / sum(p.numel() for p in matrices)
    return float(f"{math.sqrt(float(model.embedding.matrix().float().square().mean()) / max(total, 1e-12)):.2g}")
