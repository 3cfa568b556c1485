"""Passages in the files of today: whether these are still what was learnt from, and where in them a passage stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gptsmith.base.errors import CheckpointError, UserError
from gptsmith.base.files import sha256_of
from gptsmith.data.passages import Found, SearchedFile
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
        self._line_counts: dict[tuple[Path, int, int], list[int] | None] = {}

    def named(self, sha256: str, path: str) -> str:
        """The path that the run names for a file of that content: the same content may have been read from another."""
        return self._path_of.get(sha256, path)

    def located(self) -> list[Path]:
        """Where those of the files that are still there lie now."""
        found = (self.state(path)[0] for path in self.recorded)
        return [path for path in found if path is not None]

    def state(self, path: str) -> tuple[Path | None, State]:
        """Where a file lies now, and whether it holds what was learnt from. A file is hashed again only after it was
        written."""
        try:
            located = Path(self._paths.located(path))
            key = _version(located)
            if key not in self._hashes:
                self._hashes[key] = sha256_of(located)
        except (CheckpointError, OSError):
            return None, "missing"
        return located, "unchanged" if self._hashes[key] == self.recorded.get(path) else "changed"

    def find(self, path: Path, passage: str, begin: int, end: int, expected: int) -> Found | None:
        """A passage in a document that was read from the bytes `begin` to `end` of a file, as near as it can be to the
        byte where it is expected; as it stands, or as a JSON string spells it. None if it is not there, as in formats
        whose text is packed or marked up."""
        try:
            version = _version(path)
            with SearchedFile(path, self._line_counts.get(version)) as file:
                found = file.find(passage, begin, end, expected)
                self._line_counts[version] = file.line_counts
        except (OSError, UserError):
            return None
        return found


def _version(path: Path) -> tuple[Path, int, int]:
    """A file as it is now: its size and when it was written."""
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns
