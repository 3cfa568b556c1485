"""The rows of Home: how each run stands. Run folders are the truth; what was read of one is kept until it changes."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gptsmith.base.errors import GptsmithError, one_line
from gptsmith.base.leftovers import may_be_in_use
from gptsmith.run.checkpoint import list_checkpoints
from gptsmith.run.folder import LOCK, SETTINGS, Run
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.default_model import DefaultModel
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import Place
from gptsmith.train.classifier import labelling_objective
from gptsmith.train.report import REPORT
from gptsmith.workflows.watched_runs import described_run

WATCHED = (SETTINGS, "result.json", "plan.json", "checkpoints", "chat_template.jinja", REPORT)
"""The files of a run by whose times a change is seen."""
LIVE_S = 3600.0
"""How long a run may be silent and still be looked at for a process that trains it."""
TRAINING = "train"
"""The lane of jobs that make a run."""
Stamp = tuple[int | None, ...]


class Runs:
    """The runs in a studio's folder."""

    def __init__(self, place: Place, default: DefaultModel, jobs: Jobs) -> None:
        self._place, self._default, self._jobs = place, default, jobs
        self._kept: dict[str, tuple[Stamp, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def folders(self) -> dict[str, Path]:
        """The run folders by name; what is being deleted is none."""
        found = sorted(path.parent for path in self._place.runs.glob(f"*/{SETTINGS}"))
        return {path.name: path for path in found if not path.name.startswith(".")}

    def folder(self, name: str) -> Path:
        """The folder of a run.

        Raises:
            ApiError: there is no such run.
        """
        found = self.folders().get(name)
        if found is None:
            raise ApiError(404, f"there is no run {one_line(name, 80)}", code="not_found")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """A row for each run, the newest first; and for each run that a job will make.

        Of each: name, state (waiting, running, stopping, or how it stands), step, num_steps, made_by, made_from (the
        name of another of the runs if is_listed), num_parameters, num_bytes, validation_loss, bits_per_byte, kind,
        can_resume, has_report, is_default, age_s and job (see `Jobs`).
        """
        folders = self.folders()
        names = {folder.resolve(): name for name, folder in folders.items()}
        jobs = {job["run"]: job for job in self._jobs.list(0) if job["run"] and job["lane"] == TRAINING}
        default = self._default.name()
        rows = [self._row(name, folder, names, jobs.get(name), default) for name, folder in folders.items()]
        with self._lock:
            self._kept = {name: kept for name, kept in self._kept.items() if name in folders}
        coming = [
            {"name": name, "state": job["state"], "made_by": job["verb"], "age_s": time.time() - job["created"]}
            | {"made_from": None, "is_listed": False, "can_resume": False, "is_default": False, "job": job}
            for name, job in jobs.items()
            if name not in folders
        ]
        return sorted([*coming, *rows], key=lambda row: row["age_s"])

    def row(self, name: str) -> dict[str, Any]:
        """The row of one run.

        Raises:
            ApiError: there is no such run.
        """
        names = {folder.resolve(): found for found, folder in self.folders().items()}
        job = self._jobs.of_run(name)
        training = job if job is not None and job["lane"] == TRAINING else None
        return self._row(name, self.folder(name), names, training, self._default.name())

    def made_from(self, name: str) -> list[str]:
        """The runs that were made from a run."""
        base = self.folder(name).resolve()
        return [other for other, folder in self.folders().items() if described_run(folder).base == base]

    def _facts(self, name: str, folder: Path) -> dict[str, Any]:
        """What the files of a run say; they are read again only when they have changed, and once for all that ask."""
        stamp = _stamp(folder)
        with self._lock:
            kept = self._kept.get(name)
            if kept is None or kept[0] != stamp:
                self._kept[name] = kept = stamp, _facts(folder)
            return kept[1]

    def _row(
        self, name: str, folder: Path, names: dict[Path, str], job: dict[str, Any] | None, default: Any
    ) -> dict[str, Any]:
        facts, about, age = self._facts(name, folder), described_run(folder), _age(folder)
        in_use = age < LIVE_S and (folder / LOCK).exists() and may_be_in_use(folder / LOCK)
        state = job["state"] if job is not None else "running" if in_use else facts["status"]
        return {
            "name": name,
            **facts,
            "state": state,
            "num_steps": about.num_steps,
            "made_from": None if about.base is None else names.get(about.base, about.base.name),
            "is_listed": about.base in names,
            "can_resume": facts["can_resume"] and job is None and not in_use,
            "is_default": default == name,
            "age_s": age,
            "job": job,
        }


def _facts(folder: Path) -> dict[str, Any]:
    """What the files of a run say; where one cannot be read, `problem` says why."""
    run = Run(folder)
    facts: dict[str, Any] = {"status": "unreadable", "can_resume": False, "has_report": (folder / REPORT).is_file()}
    facts |= dict.fromkeys(("made_by", "kind", "step", "num_parameters", "validation_loss", "bits_per_byte", "problem"))
    facts["num_bytes"] = _size(folder)
    try:
        result, newest = run.result(), next(iter(list_checkpoints(run.checkpoints)), None)
        facts["made_by"] = run.made_by
        facts["kind"] = _kind(run)
        if result is not None:
            facts |= {key: result.get(key, facts.get(key)) for key in facts}
            facts["status"] = result["status"]
        elif newest is not None:
            state = newest.train_state()
            facts |= {"status": "stopped", "step": newest.step, "validation_loss": state.validation_loss}
            facts["bits_per_byte"] = state.validation_bits_per_byte
        else:
            facts["status"] = "empty"
        if facts["num_parameters"] is None:
            facts["num_parameters"] = run.plan().get("predicted", {}).get("num_parameters")
        is_over = result is not None and result["status"] != "stopped"
        facts["can_resume"] = "train" in run.settings() and not is_over and (newest is None or newest.is_resumable)
    except (GptsmithError, OSError) as error:
        facts["problem"] = one_line(error, 200)
    return facts


def _kind(run: Run) -> str:
    if labelling_objective(run) is not None:
        return "classifier"
    return "base" if run.template() is None else "chat"


def _age(folder: Path) -> float:
    """The seconds since its log, or the folder, changed."""
    for path in (folder / "metrics.jsonl", folder):
        with suppress(OSError):
            return max(0.0, time.time() - path.stat().st_mtime)
    return 0.0


def _stamp(folder: Path) -> Stamp:
    def changed(path: Path) -> int | None:
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return None

    return tuple(changed(folder / name) for name in WATCHED)


def _size(folder: Path) -> int:
    """The bytes of the files in a folder."""
    num_bytes = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                num_bytes += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
    return num_bytes
