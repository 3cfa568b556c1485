"""Names of version 0.1 that have another name today: for reading what it wrote, and for `did you mean`."""

from __future__ import annotations

SETTINGS = {
    "asked": "request",
    "asked.until_loss": "target_loss",
    "data.validation_share": "validation_fraction",
    "examples.validation_share": "validation_fraction",
    "examples.test_share": "test_fraction",
    "task.check": "scorer",
    "task.words": "label_names",
    "model.attention.band_tokens": "window_size",
    "model.num_scores": "num_labels",
    "train.until_loss": "target_loss",
    "train.health": "stability",
    "train.schedule.decay_share": "decay_fraction",
    "train.schedule.final_share": "min_lr_ratio",
    "train.optimizer.embedding_factor": "embedding_lr_multiplier",
    "train.objective.method": "loss_type",
    "train.objective.answers": "group_size",
    "train.objective.redraws": "max_resamples",
    "train.objective.clip": "clip_range",
    "train.objective.kl_weight": "kl_coef",
    "train.objective.teacher_share": "alpha",
}
"""The path of a setting, and the last part of its name today."""
OBJECTIVES = {
    "chat": "sft",
    "classify": "classification",
    "preference": "dpo",
    "reward": "reward_model",
    "policy": "grpo",
    "distill": "distillation",
}
VALUES = {
    "asked.objective": OBJECTIVES,
    "model.norm_placement": {"before": "pre", "after": "post"},
    "model.init": {"smith": "zero_output"},
    "model.attention.kind": {"banded": "sliding_window"},
    "model.linear.kind": {"plain": "dense"},
    "model.linear.base.kind": {"plain": "dense"},
    "train.objective.kind": OBJECTIVES,
    "train.objective.method": {"dpo": "sigmoid"},
}
"""The values of settings that have another name today."""
STATUSES = {"reached": "target_reached", "early": "early_stopped", "shared": "shared_search"}
OPTIONS = {
    "--until-loss": "--target-loss",
    "--max-streams": "--max-num-seqs",
    "--max-waiting": "--max-queue-size",
    "--harness": "--lm-eval",
    "--harness-path": "--lm-eval-path",
}
"""The options of commands that have another name today."""
RENAMED = (
    {old.rpartition(".")[2]: new for old, new in SETTINGS.items()}
    | {old: new for values in VALUES.values() for old, new in values.items()}
    | OPTIONS
)
"""Each old name and the one of today, wherever it stands."""
