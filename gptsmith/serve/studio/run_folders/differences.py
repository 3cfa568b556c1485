"""Whether differences between runs are more than chance, by the verb `evaluate` in jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptsmith.base.errors import GptsmithError
from gptsmith.convert.open import open_model
from gptsmith.data.summary import is_same_data
from gptsmith.run.checkpoint import CHECKPOINTS
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import RUNS
from gptsmith.serve.studio.run_folders.rows import Runs
from gptsmith.train.validation_text import pretraining_of

VERB = "evaluate"
MOST_CHANCE = 0.05
"""The probability of calling any of the differences real where there is none."""


class Differences:
    """The bits per byte of runs, beside those of the first of them on the text that was held back from it. They are
    the results of jobs, which are kept with them."""

    def __init__(self, jobs: Jobs, runs: Runs) -> None:
        self._jobs, self._runs = jobs, runs

    def of(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """What is known of each run but the first: name, job (state, progress and message; None without one), and when
        it is done figures.

        Raises:
            ApiError: there is no such run.
        """
        first, *others = names
        return [self._row(first, other, len(others)) for other in others]

    def measure(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Queues what is not measured, or failed; all, as above.

        Raises:
            ApiError: there is no such run.
            UserError: the disk is full.
        """
        first = names[0]
        for row in self.of(names):
            if row["job"] is None or (row["job"]["ended"] is not None and row["figures"] is None):
                words = [f"{RUNS}/{first}", "--against", f"{RUNS}/{row['name']}", "--json"]
                self._jobs.add(VERB, words, title=_title(first, row["name"]), run=first, lane="quick")
        return self.of(names)

    def _row(self, first: str, other: str, num_others: int) -> dict[str, Any]:
        folders = [self._runs.folder(name) for name in (first, other)]
        found = (
            job for job in self._jobs.list(run=first) if job["verb"] == VERB and job["title"] == _title(first, other)
        )
        job = next((job for job in found if job["created"] > max(map(_changed, folders))), None)
        figures = None
        if job is not None and job["state"] == "done":
            result = self._jobs.get(job["id"])["result"] or {}
            figures = _figures(result, num_others) | {"is_same_text": _is_same_text(*folders)}
        return {"name": other, "job": job, "figures": figures}


def _title(first: str, other: str) -> str:
    return f"{first} / {other}"


def _changed(folder: Path) -> float:
    """When the weights of a run were last written."""
    return max((path.stat().st_mtime for path in (folder / CHECKPOINTS).glob("*")), default=0.0)


def _figures(result: Mapping[str, Any], num_others: int) -> dict[str, Any]:
    """The bits per byte of the first run and the other with their intervals, and the difference, positive where the
    other is better. Of several others, each needs the more certainty."""
    compared = result["comparison"]["bits_per_byte"]
    low, high = compared["difference_interval"]
    chance = compared["p_value"] * num_others
    names = ("bits_per_byte", "bits_per_byte_low", "bits_per_byte_high")
    return {
        "first": [result[name] for name in names],
        "other": [result["against"][name] for name in names],
        "difference": [compared["difference"], low, high],
        "is_real": chance < MOST_CHANCE and not low <= 0 <= high,
    }


def _is_same_text(first: Path, other: Path) -> bool:
    """Whether two runs come from one text that was split in one way, so that none has seen what was held back."""
    try:
        (one, ours), (another, theirs) = pretraining_of(open_model(first)), pretraining_of(open_model(other))
        is_split_alike = (ours.data, ours.train.seed) == (theirs.data, theirs.train.seed)
        return one.folder == another.folder or (is_split_alike and is_same_data(one.data(), another.data()))
    except (GptsmithError, OSError):
        return False
