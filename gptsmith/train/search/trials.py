"""The results of a search's trials, read from their folders. No torch, and no optuna."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptsmith.base.files import read_json
from gptsmith.base.settings import read_toml
from gptsmith.train.search.importance import importance
from gptsmith.train.search.plan import PATHS, SEARCH, SEARCH_PLAN, SearchPlan, label_of, trial_folder, value_at

PRUNED, DIVERGED = "pruned", "diverged"


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has ended."""

    number: int
    folder: Path
    values: dict[str, float]
    """The values that it tried, by the names of the settings."""
    figures: dict[str, Any]
    """Its result.json."""

    @property
    def loss(self) -> float:
        """Its validation loss; infinite if there is none."""
        loss = self.figures.get("validation_loss")
        return loss if loss is not None and math.isfinite(loss) else math.inf

    @property
    def is_whole(self) -> bool:
        """Whether it was trained to its end, and has a validation loss that counts."""
        return self.figures["status"] not in (PRUNED, DIVERGED) and self.loss < math.inf


def search_plan(run: Path) -> SearchPlan | None:
    """The plan of a run's search; None if the run has none."""
    path = run / SEARCH / SEARCH_PLAN
    return SearchPlan.parse(read_json(path), str(path)) if path.exists() else None


def ended_trial(search: Path, number: int, plan: SearchPlan) -> EndedTrial | None:
    """A trial, read from its folder; None if it has not ended."""
    folder = trial_folder(search, number)
    if not (folder / "result.json").exists():
        return None
    settings = read_toml(folder / "run.toml")
    values = {name: value_at(settings, PATHS[name]) for name in plan.ranges}
    return EndedTrial(number, folder, values, read_json(folder / "result.json"))


def ended_trials(run: Path, plan: SearchPlan) -> list[EndedTrial]:
    """The trials of a run's search that have ended: the lowest validation loss first, pruned and diverged ones last."""
    found = (ended_trial(run / SEARCH, number, plan) for number in range(1, plan.num_trials + 1))
    return sorted(filter(None, found), key=lambda trial: (not trial.is_whole, trial.loss))


def best_of(trials: Sequence[EndedTrial]) -> EndedTrial | None:
    """The first that was trained to its end; None if none was."""
    return next((trial for trial in trials if trial.is_whole), None)


def search_figures(run: Path) -> dict[str, Any] | None:
    """The figures of a run's search for a page: num_trials; settings, each with its name, label, range and importance,
    the most important first; trials. None if the run has no search."""
    plan = search_plan(run)
    if plan is None:
        return None
    trials = ended_trials(run, plan)
    shares = importance(
        {name: [trial.values[name] for trial in trials] for name in plan.ranges},
        [trial.loss for trial in trials],
        log={name for name, values in plan.ranges.items() if values.log},
    )
    settings = [
        {"name": name, "label": label_of(name), "importance": shares.get(name), **values.plain()}
        for name, values in plan.ranges.items()
    ]
    return {
        "num_trials": plan.num_trials,
        "settings": sorted(settings, key=lambda setting: -(setting["importance"] or 0)),
        "trials": [
            {
                "number": trial.number,
                "values": trial.values,
                "loss": None if trial.loss == math.inf else trial.loss,
                "is_whole": trial.is_whole,
                **{key: trial.figures.get(key) for key in ("status", "share", "seconds")},
            }
            for trial in trials
        ],
    }
