"""Copies of runs in the form of other programs, each with its certificate."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError, one_line
from gptsmith.base.files import remove_folder, writing
from gptsmith.convert.certificate import CERTIFICATE, recorded_figures
from gptsmith.run.checkpoint import CHECKPOINTS
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import RUNS, Place
from gptsmith.serve.studio.run_folders.rows import Runs

EXPORTS = "exports"
PRECISIONS = {
    "huggingface": ("float32", "float16", "bfloat16"),
    "gguf": ("q8_0", "float16", "bfloat16", "float32"),
    "ollama": ("q8_0", "float16", "bfloat16", "float32"),
}
"""The formats, and the precisions of each, the usual one first."""


class Copies:
    """The exports of a studio's runs, in exports/RUN-FORMAT-PRECISION, made by the verb `export`."""

    def __init__(self, place: Place, jobs: Jobs, runs: Runs) -> None:
        self._jobs, self._runs = jobs, runs
        self._folder, self._lock = place.folder / EXPORTS, threading.Lock()

    def of(self, run: str) -> list[dict[str, Any]]:
        """The copies of a run that are there, or for which a job waits, runs or failed: name, format, precision, job,
        num_bytes, is_ready and the figures of its certificate.

        Raises:
            ApiError: there is no such run.
        """
        made_from = self._runs.folder(run)
        jobs = {job["title"]: job for job in reversed(self._jobs.list(run=run)) if job["verb"] == "export"}
        found = []
        for to, precisions in PRECISIONS.items():
            for precision in precisions:
                name = copy_name(run, to, precision)
                folder = self._folder / name
                about = {"name": name, "format": to, "precision": precision, "job": jobs.get(name)}
                if is_copy_of(made_from, folder):
                    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                    found.append(about | {"num_bytes": size, "is_ready": True} | recorded_figures(folder))
                elif name in jobs and jobs[name]["state"] != "done":
                    found.append(about | {"is_ready": False})
        return found

    def write(self, run: str, to: str, precision: str) -> str:
        """Queues a copy; the id of the job.

        Raises:
            ApiError: there is no such run.
            UserError: there is no such format, or the copy is there already.
        """
        made_from = self._runs.folder(run)
        if precision not in PRECISIONS.get(to, ()):
            raise UserError(f"{one_line(to, 40)} with {one_line(precision, 40)} is no format: one of {PRECISIONS}")
        name = copy_name(run, to, precision)
        folder = self._folder / name
        arguments = [f"{RUNS}/{run}", "--to", to, "--precision", precision, "--out", f"{EXPORTS}/{name}", "--json"]
        with writing(folder), self._lock:  # of two pages that ask at once, one is refused
            if any(copy["name"] == name and _is_wanted(copy) for copy in self.of(run)):
                raise UserError(f"{name} is there already: download it, or delete it to write it again")
            if folder.exists() and not is_copy_of(made_from, folder):
                remove_folder(folder)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            return self._jobs.add("export", arguments, title=name, run=run, lane="quick")

    def folder(self, name: str) -> Path:
        """The folder of a copy.

        Raises:
            ApiError: there is none.
        """
        found = {path.parent.name: path.parent for path in self._folder.glob(f"*/{CERTIFICATE}")}
        if name not in found or name.startswith("."):
            raise ApiError(404, f"there is no copy {one_line(name, 80)}", code="not_found")
        return found[name]

    def renamed(self, run: str, new: str) -> None:
        """Gives the copies of a run its new name."""
        for to, precisions in PRECISIONS.items():
            for precision in precisions:
                folder = self._folder / copy_name(run, to, precision)
                target = folder.with_name(copy_name(new, to, precision))
                if folder.is_dir() and not target.exists():
                    with writing(target):
                        folder.rename(target)

    def delete(self, name: str) -> None:
        """Deletes a copy.

        Raises:
            ApiError: there is none.
        """
        folder = self.folder(name)
        with writing(folder):
            remove_folder(folder)


def is_copy_of(run: Path, copy: Path) -> bool:
    """Whether a copy was made of the weights that a run has now: not of those before it was trained on, nor of another
    run that had its name."""
    try:
        made = (copy / CERTIFICATE).stat().st_mtime
        return all(weights.stat().st_mtime <= made for weights in (run / CHECKPOINTS).glob("*"))
    except OSError:  # there is none, or it has just gone
        return False


def copy_name(run: str, to: str, precision: str) -> str:
    """The name of a copy's folder."""
    return f"{run}-{to}-{precision}"


def _is_wanted(copy: dict[str, Any]) -> bool:
    """Whether it is there, or about to be."""
    return copy["is_ready"] or copy["job"]["state"] in ("waiting", "running", "stopping")
