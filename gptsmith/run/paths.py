"""The paths that a run names, found again from wherever a command is started and wherever the run and its files lie
now. No torch."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field

from gptsmith.base.errors import CheckpointError, UserError
from gptsmith.base.files import read_json, write_json
from gptsmith.base.settings import Settings
from gptsmith.store.objects import is_remote

PATHS = "paths.json"


class RecordedPaths(Settings):
    """The content of paths.json: where a run was made."""

    folder: str
    """The folder that the run was made in."""
    working_directories: list[str] = Field(min_length=1)
    """The folders that its command, and those of the runs that it was derived from, were started in."""


class RunPaths:
    """The places where the files that a run names may lie.

    A path is looked for beside the run as it was when the run was made, so that a run and its text can move together;
    then in the folder that the command was started in; in the working directory; and, where a run does not say where it
    was made, in the folders around it.
    """

    def __init__(self, run: Path) -> None:
        """
        Args:
            run: the run's folder, where it lies now.
        """
        self.run = run

    def record(self, derived_from: RunPaths | None = None) -> None:
        """Write where the run is made, and where what it is derived from was."""
        before = None if derived_from is None else derived_from.recorded()
        directories = [str(Path.cwd()), *(before.working_directories if before is not None else [])]
        recorded = RecordedPaths(
            folder=str(self.run.resolve().parent), working_directories=list(dict.fromkeys(directories))
        )
        write_json(self.run / PATHS, recorded.plain())

    def recorded(self) -> RecordedPaths | None:
        """Where the run was made; None if it does not say."""
        path = self.run / PATHS
        try:
            return RecordedPaths.parse(read_json(path), str(path)) if path.exists() else None
        except UserError:
            return None

    def located(self, path: str | Path) -> str:
        """A path or pattern that the run names, as it can be opened now. A URL of a store stays as it is.

        Raises:
            CheckpointError: nothing is there; the message names the places.
        """
        if is_remote(path):
            return str(path)
        places = list(dict.fromkeys(self._places(str(Path(path).expanduser()))))
        for place in places:
            if Path(place).exists() or (glob.has_magic(place) and any(glob.iglob(place, recursive=True))):  # noqa: PTH207
                return place
        looked_in = ", ".join(str(Path(place).absolute()) for place in places)
        raise CheckpointError(f"{self.run} names {path}, which is not there (looked for {looked_in}): bring it back")

    def all_located(self, paths: Iterable[str | Path]) -> list[str]:
        """Several paths or patterns, as they can be opened now.

        Raises:
            CheckpointError: one is not there.
        """
        return [self.located(path) for path in paths]

    def _places(self, path: str) -> Iterator[str]:
        around, recorded = self.run.resolve().parent, self.recorded()
        if recorded is None:
            yield path
            yield from (str(folder / path) for folder in (around, *around.parents))
            return
        if Path(path).is_absolute():
            yield path
        for directory in recorded.working_directories:
            then = str(Path(directory) / path)
            yield os.path.normpath(around / os.path.relpath(then, recorded.folder))
            yield then
        yield path
