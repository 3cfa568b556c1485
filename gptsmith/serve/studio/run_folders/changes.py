"""What people do with runs: resume, rename, delete, use by default."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_table, remove_folder, sync_folder, write_json, writing
from gptsmith.base.leftovers import sweep
from gptsmith.run.folder import RESULT, Run
from gptsmith.run.writer import only_writer
from gptsmith.serve.log import log_failure
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.default_model import DefaultModel
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import RUNS, Place
from gptsmith.serve.studio.run_folders.rows import Runs

MAX_NAME_BYTES = 100
RENAMING = "renaming"
"""The setting that says which run is being renamed; None if none is."""


class RunChanges:
    """Changes of the runs of a studio. A run that a process writes is left alone."""

    def __init__(
        self, place: Place, database: Database, jobs: Jobs, runs: Runs, followers: Sequence[Callable[[str, str], None]]
    ) -> None:
        """
        Args:
            followers: called with the old and the new name of a run, more than once if the studio is killed.
        """
        self._place, self._database, self._jobs, self._runs = place, database, jobs, runs
        self._followers, self._default, self._lock = followers, DefaultModel(database), threading.Lock()

    def resume(self, name: str) -> str:
        """Queues the rest of a run's training; the id of the job.

        Raises:
            ApiError: there is no such run.
            UserError: it has ended, or is being trained.
        """
        with self._lock:  # of two pages that ask at once, one is refused
            row = self._runs.row(name)
            if not row["can_resume"]:
                raise UserError(f"{name} cannot be resumed: it is {str(row['state']).replace('_', ' ')}")
            arguments = ["--resume", f"{RUNS}/{name}", "--json"]
            return self._jobs.add(row["made_by"], arguments, title=name, run=name)

    def rename(self, name: str, new: str) -> None:
        """Gives a run another name, which all that was made from it and all that the studio knows of it then says. It
        is noted before, so that the next studio finishes it where this one is killed.

        Raises:
            ApiError: there is no such run.
            UserError: the name is taken or not allowed, a process writes one of them, or the disk is full.
        """
        with self._lock:
            self._finish()
            folder, target = self._runs.folder(name), self._place.runs / require_name(new)
            self._require_no_job(name)
            if _is_taken(target) or self._jobs.of_run(new) is not None:
                raise UserError(f"there is a run {new} already: choose another name")
            made_from = self._runs.made_from(name)
            with ExitStack() as held, writing(target):
                for one in (folder, *map(self._runs.folder, made_from)):
                    held.enter_context(only_writer(one))
                about = {"name": name, "new": new, "made_from": made_from, "inode": folder.stat().st_ino}
                self._database.set(RENAMING, about)
                folder.rename(target)
                sync_folder(target.parent)
            self._finish()

    def finish(self) -> None:
        """Finishes what a studio that was killed had begun."""
        with self._lock:
            sweep(self._place.runs)
            try:
                self._finish()
            except UserError as error:  # as a full disk: the next studio may have room
                log_failure(error)

    def _finish(self) -> None:
        """Has all follow a run that was renamed. Each step can be done again.

        Raises:
            UserError: a process writes a run that was made from it, or the disk is full.
        """
        about = self._database.setting(RENAMING)
        if about is None:
            return
        target = self._place.runs / about["new"]
        with self._database.transaction():
            if target.is_dir() and target.stat().st_ino == about["inode"]:
                there = self._runs.folders()
                for run in [Run(there[name]) for name in about["made_from"] if name in there]:
                    with only_writer(run.folder):
                        _name_base(run, about["name"], about["new"])
                for follow in self._followers:
                    follow(about["name"], about["new"])
            self._database.set(RENAMING, None)

    def delete(self, name: str) -> None:
        """Deletes a run. It loses its name in one step, so that no half of it stays.

        Raises:
            ApiError: there is no such run.
            UserError: a process writes it.
        """
        with self._lock:
            folder = self._runs.folder(name)
            self._require_no_job(name)
            with only_writer(folder), writing(folder):
                remove_folder(folder)
            self._default.renamed(name, None)

    def use_by_default(self, name: str) -> None:
        """Has a run answer where none is chosen.

        Raises:
            ApiError: there is no such run.
        """
        self._runs.folder(name)
        self._default.choose(name)

    def _require_no_job(self, name: str) -> None:
        """
        Raises:
            UserError: a job for the run, or from it, waits or runs.
        """
        job = self._jobs.using(name, f"{RUNS}/{name}", str(self._place.runs / name))
        if job is not None:
            raise UserError(f"{name} is needed by a job that waits or runs ({job['title']}): stop it first")


def _name_base(run: Run, name: str, new: str) -> None:
    """Writes into a run the new name of the one that it was made from."""
    settings, result = run.settings(), run.folder / RESULT
    if (base := settings.get("request", {}).get("base")) and Path(base).name == name:
        settings["request"]["base"] = str(Path(base).with_name(new))
        run.write_settings(settings)
    if result.exists() and (base := (written := read_table(result)).get("made_from")) and Path(base).name == name:
        write_json(result, {**written, "made_from": str(Path(base).with_name(new))})


def require_name(name: str) -> str:
    """A name for a run, in any script, that is one folder and no option.

    Raises:
        UserError: it is none.
    """
    is_safe = name == name.strip() and name.isprintable() and not name.startswith((".", "-", "~"))
    if not name or len(name.encode()) > MAX_NAME_BYTES or not is_safe or set(name) & set('/\\:*?"<>|'):
        raise UserError(
            f"{name[:MAX_NAME_BYTES]!r} is no name for a run: use up to {MAX_NAME_BYTES} bytes of letters, "
            'numbers and signs, without / \\ : * ? " < > | and not with . - ~ at the beginning'
        )
    return name


def _is_taken(path: Path) -> bool:
    """Whether something has the name, a link to nowhere included."""
    return path.is_symlink() or path.exists()
