"""The files of today that a run learnt from: whether they still hold it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gptsmith.base.errors import CheckpointError
from gptsmith.base.files import sha256_of
from gptsmith.run.paths import RunPaths

State = Literal["unchanged", "changed", "missing"]


class SourceFiles:
    """The files that a run learnt from, as they are now.

    Args:
        recorded: the SHA-256 of each file when it was read, by the path that the run names.
    """

    def __init__(self, paths: RunPaths, recorded: Mapping[str, str]) -> None:
        self._paths, self.recorded = paths, dict(recorded)
        self._path_of = {sha256: path for path, sha256 in reversed(self.recorded.items())}
        self._hashes: dict[tuple[Path, int, int], str] = {}

    def named(self, sha256: str, path: str) -> str:
        """The path that the run names for a file of that content: the same content may have been read from another."""
        return self._path_of.get(sha256, path)

    def state(self, path: str) -> tuple[Path | None, State]:
        """Where a file lies now, and whether it holds what was learnt from. A file is hashed again only after it was
        written."""
        try:
            located = Path(self._paths.located(path))
            status = located.stat()
            key = located, status.st_size, status.st_mtime_ns
            if key not in self._hashes:
                self._hashes[key] = sha256_of(located)
        except (CheckpointError, OSError):
            return None, "missing"
        return located, "unchanged" if self._hashes[key] == self.recorded.get(path) else "changed"
