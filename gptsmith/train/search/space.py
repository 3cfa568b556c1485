"""The search space of a fine-tuning job: the range of each setting that is searched."""

from __future__ import annotations

from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.train.finetuning import FinetuningJob
from gptsmith.train.search.plan import DROPOUT, EPOCHS, PATHS, RANK, RATE, ROWS, Range, label_of, value_at

RATE_FACTOR, ROWS_FACTOR, EPOCHS_FACTOR, RANK_FACTOR = 10, 4, 3, 4
"""How many times smaller and larger than the default a value may be."""
MOST_DROPOUT = 0.3
ALSO_DECIDED_BY = {EPOCHS: "train.num_steps", RANK: "model.linear.rank"}


def ranges_around(job: FinetuningJob, table: dict[str, Any]) -> dict[str, Range]:
    """The range of each setting that `table` leaves open, around the value that the job would have without a search.

    Raises:
        UserError: nothing is left open, or there is no validation data to compare settings on.
    """
    if not job.dataset.num_validation_tokens:
        raise UserError(
            "--trials compares settings on validation data, and there is none: "
            "name some with --validation, or set examples.validation_fraction"
        )
    settings = job.settings.plain()
    train, model = settings["train"], settings["model"]
    around = {
        RATE: _around(train["optimizer"]["learning_rate"], RATE_FACTOR),
        ROWS: _around(train["batch_size"], ROWS_FACTOR, whole=True, most=job.dataset.num_samples),
        EPOCHS: _around(job.settings.train.objective.usual_epochs, EPOCHS_FACTOR),
        DROPOUT: Range(default=model["dropout"], low=0, high=max(MOST_DROPOUT, model["dropout"])),
    }
    if (rank := value_at(table, "request.lora")) is not None:
        around[RANK] = _around(rank, RANK_FACTOR, whole=True, most=model["embed_dim"])
    ranges = {name: found for name, found in around.items() if not _is_decided(table, name)}
    if not ranges:
        raise UserError(
            f"--trials has nothing left to search: {', '.join(map(label_of, around))} are all set; leave one of them "
            "out, or leave out --trials"
        )
    return ranges


def _is_decided(table: dict[str, Any], name: str) -> bool:
    """Whether a person has set it. The rank given with --lora is where the search of it begins."""
    by_name = name != RANK and value_at(table, PATHS[name]) is not None
    return by_name or (name in ALSO_DECIDED_BY and value_at(table, ALSO_DECIDED_BY[name]) is not None)


def _around(default: float, factor: float, *, whole: bool = False, most: float | None = None) -> Range:
    low, high = default / factor, default * factor
    if whole:
        low = max(1, round(low))
    return Range(default=default, low=low, high=max(default, min(high, most or high)), log=True, whole=whole)
