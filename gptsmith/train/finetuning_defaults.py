"""The training settings of a fine-tuning job that nobody sets."""

from __future__ import annotations

import math
from typing import Any

import torch

from gptsmith.base.settings import merged
from gptsmith.model.gpt import GPT
from gptsmith.train.datasets.base import Dataset
from gptsmith.train.objectives import ObjectiveSettings

TOKENS_PER_STEP, LEAST_ROWS, MOST_ROWS = 1024, 8, 32
"""A step has about so many tokens, and not fewer or more samples than these."""
LEAST_STEPS = 8
"""Of an epoch of few examples."""
NUM_EVALUATIONS = 10


def training_table(
    given: dict[str, Any], epochs: float | None, objective: ObjectiveSettings, model: GPT, dataset: Dataset
) -> dict[str, Any]:
    """All settings of the training, with the given ones on top."""
    wanted = min(max(round(TOKENS_PER_STEP / dataset.tokens_per_sample), LEAST_ROWS), MOST_ROWS)
    rows = given.get("batch_size", min(wanted, max(1, dataset.num_samples // LEAST_STEPS)))
    epochs = epochs or objective.usual_epochs
    num_steps = given.get("num_steps", max(1, math.ceil(epochs * dataset.num_samples / rows)))
    every = max(1, num_steps // NUM_EVALUATIONS)
    defaults = {
        "batch_size": rows,
        "num_steps": num_steps,
        "optimizer": _optimizer(objective, model),
        "stability": {"spike_deviations": 100.0},  # one of the few examples of a step may be hard: that is no spike
        "schedule": {"warmup_steps": num_steps // 20, "decay_fraction": 0.9, "min_lr_ratio": 0.0},
        "evaluate_at_start": True,
        "evaluate_every_steps": every,
        "sample_every_steps": 2 * every,
    }
    return {**merged(defaults, given), "objective": objective.plain()}


def _optimizer(objective: ObjectiveSettings, model: GPT) -> dict[str, Any]:
    adapts = model.config.linear.has_adapters
    rate = objective.usual_lora_learning_rate if adapts else objective.usual_learning_rate
    optimizer: dict[str, Any] = {"kind": "adamw", "learning_rate": rate, "weight_decay": 0.01}
    if not adapts:
        optimizer["embedding_lr_multiplier"] = _embedding_lr_multiplier(model)
    return optimizer


@torch.no_grad()
def _embedding_lr_multiplier(model: GPT) -> float:
    """How many times larger the embedding's numbers are than those of the blocks' matrices, in two digits."""
    matrices = [p for p in model.blocks.parameters() if p.dim() == 2]
    if not matrices:
        return 1.0
    total = sum(float(p.float().square().sum()) for p in matrices) / sum(p.numel() for p in matrices)
    return float(f"{math.sqrt(float(model.embedding.weight.float().square().mean()) / max(total, 1e-12)):.2g}")
