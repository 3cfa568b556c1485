"""What people do with runs: resume, rename, delete, use by default."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from gptsmith.base.errors import UserError
from gptsmith.base.files import read_table, remove_folder, write_json, writing
from gptsmith.run.folder import RESULT, Run
from gptsmith.run.writer import only_writer
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.jobs.queue import Jobs
from gptsmith.serve.studio.place import RUNS, Place
from gptsmith.serve.studio.run_folders.rows import DEFAULT_MODEL, Runs

MAX_NAME_CHARACTERS = 100


class RunChanges:
    """Changes of the runs of a studio. A run that a process writes is left alone."""

    def __init__(self, place: Place, database: Database, jobs: Jobs, runs: Runs) -> None:
        self._place, self._database, self._jobs, self._runs = place, database, jobs, runs

    def resume(self, name: str) -> str:
        """Queues the rest of a run's training; the id of the job.

        Raises:
            ApiError: there is no such run.
            UserError: it has ended, or is being trained.
        """
        row = self._runs.row(name)
        if not row["can_resume"]:
            raise UserError(f"{name} cannot be resumed: it is {str(row['state']).replace('_', ' ')}")
        arguments = ["--resume", f"{RUNS}/{name}", "--json"]
        return self._jobs.add(row["made_by"], arguments, title=name, run=name)

    def rename(self, name: str, new: str) -> None:
        """Gives a run another name; those that were made from it say the new one.

        Raises:
            ApiError: there is no such run.
            UserError: the name is taken or not allowed, or a process writes one of them.
        """
        folder, target = self._runs.folder(name), self._place.runs / require_name(new)
        self._require_no_job(name)
        if _is_taken(target):
            raise UserError(f"there is a run {new} already: choose another name")
        followers = [Run(self._runs.folder(other)) for other in self._runs.made_from(name)]
        with ExitStack() as held:
            for one in (folder, *(run.folder for run in followers)):
                held.enter_context(only_writer(one))
            with writing(target):
                folder.rename(target)
            for run in followers:
                _name_base(run, new)
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET run = ? WHERE run = ?", (new, name))
        if self._database.setting(DEFAULT_MODEL) == name:
            self._database.set(DEFAULT_MODEL, new)

    def delete(self, name: str) -> None:
        """Deletes a run. It loses its name in one step, so that no half of it stays.

        Raises:
            ApiError: there is no such run.
            UserError: a process writes it.
        """
        folder = self._runs.folder(name)
        self._require_no_job(name)
        with only_writer(folder), writing(folder):
            remove_folder(folder)
        if self._database.setting(DEFAULT_MODEL) == name:
            self._database.set(DEFAULT_MODEL, None)

    def use_by_default(self, name: str) -> None:
        """Has a run answer where none is chosen.

        Raises:
            ApiError: there is no such run.
        """
        self._runs.folder(name)
        self._database.set(DEFAULT_MODEL, name)

    def _require_no_job(self, name: str) -> None:
        """
        Raises:
            UserError: a job for the run waits or runs.
        """
        if self._jobs.of_run(name) is not None:
            raise UserError(f"{name} has a job that waits or runs: stop it first")


def _name_base(run: Run, new: str) -> None:
    """Writes into a run the new name of the one that it was made from."""
    settings, result = run.settings(), run.folder / RESULT
    if base := settings.get("request", {}).get("base"):
        settings["request"]["base"] = str(Path(base).with_name(new))
        run.write_settings(settings)
    if result.exists() and (base := (written := read_table(result)).get("made_from")):
        write_json(result, {**written, "made_from": str(Path(base).with_name(new))})


def require_name(name: str) -> str:
    """A name for a run, in any script, that is one folder and no option.

    Raises:
        UserError: it is none.
    """
    is_safe = name == name.strip() and name.isprintable() and not name.startswith((".", "-", "~"))
    if not name or len(name.encode()) > MAX_NAME_CHARACTERS or not is_safe or set(name) & set('/\\:*?"<>|'):
        raise UserError(
            f"{name[:MAX_NAME_CHARACTERS]!r} is no name for a run: use up to {MAX_NAME_CHARACTERS} bytes of letters, "
            'numbers and signs, without / \\ : * ? " < > | and not with . - ~ at the beginning'
        )
    return name


def _is_taken(path: Path) -> bool:
    """Whether something has the name, a link to nowhere included."""
    return path.is_symlink() or path.exists()
