"""A corpus in parts: each has the documents of some files, and joined they are what one process would have written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gptsmith.base.files import read_json
from gptsmith.data.cache import MANIFEST, Journal
from gptsmith.data.corpus_build import DOCUMENT, TABLE_FILE, TEXT_FILE, CorpusBuild, FileRecord
from gptsmith.data.discover import Candidate

REDACTED_FILE = "redacted.jsonl"
"""What was replaced in each document, by its SHA-256."""
COPY_BYTES = 1 << 24


@dataclass
class PartBuild(CorpusBuild):
    """Reads some of the files of a corpus, and keeps what was replaced in each document: it counts only if no earlier
    part has the same document."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._redacted: list[dict[str, Any]] = []

    def _note(self, sha256: bytes, redacted: Counter[str]) -> None:
        if redacted:
            self._redacted.append({"sha256": sha256.hex(), "counts": dict(redacted)})

    def _commit(self) -> None:
        # Before the records of the files: what a crash leaves here too much is written again as it was.
        if self._redacted:
            Journal(self.folder / REDACTED_FILE).append(*self._redacted)
            self._redacted = []
        super()._commit()


@dataclass
class JoinedBuild(CorpusBuild):
    """Writes a corpus of which the documents are in parts, in the order of its files.

    Attributes:
        parts: the number of the first file of each, and its folder, in order.
    """

    parts: Sequence[tuple[int, Path]]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._firsts, self._parts = [first for first, _ in self.parts], [part for _, part in self.parts]
        self._part: _Part | None = None

    def _read(self, number: int, candidate: Candidate, record: FileRecord) -> FileRecord:
        place = int(np.searchsorted(self._firsts, number, side="right")) - 1
        part = self._part_in(self._parts[place])
        local = number - self._firsts[place]
        stored = replace(part.records[local], path=record.path)
        rows = part.rows[slice(*np.searchsorted(part.rows["file"], [local, local + 1]))]
        if not len(rows):
            return stored
        is_new = np.array([self.deduplication.keep(row.tobytes()) for row in rows["sha256"]], bool)
        self.deduplication.commit()
        first = int(np.searchsorted(part.rows["file"], local))
        begin = int(part.rows["end"][first - 1]) if first else 0
        self._copy(part, number, rows, begin, is_new)
        if is_new.all():
            return stored
        redacted, num_dropped = Counter[str](), int((~is_new).sum())
        for row in rows["sha256"][is_new] if part.redacted else ():
            redacted += Counter(part.redacted.get(row.tobytes().hex(), {}))
        return replace(
            stored,
            num_documents=stored.num_documents - num_dropped,
            num_duplicates=stored.num_duplicates + num_dropped,
            redacted=dict(redacted),
        )

    def _part_in(self, folder: Path) -> _Part:
        if self._part is None or self._part.folder != folder:
            self._part = _Part(folder)
        return self._part

    def _copy(self, part: _Part, number: int, rows: np.ndarray, begin: int, is_new: np.ndarray) -> None:
        """Adds the documents of a file that are new, in runs of those that follow upon each other."""
        ends = rows["end"].astype(np.int64)
        starts = np.concatenate([[begin], ends[:-1]])
        written = np.array(rows[is_new])
        written["file"] = number
        written["end"] = self.text.tell() + np.cumsum((ends - starts)[is_new])
        changes = np.flatnonzero(np.diff(np.concatenate([[False], is_new, [False]]).astype(np.int8)))
        with (part.folder / TEXT_FILE).open("rb") as file:
            for first, last in changes.reshape(-1, 2):
                file.seek(int(starts[first]))
                left = int(ends[last - 1] - starts[first])
                while left:
                    left -= self.text.write(file.read(min(left, COPY_BYTES)))
        self.rows.write(written.tobytes())
        self.num_documents += len(written)


class _Part:
    """A part that is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = read_json(folder / MANIFEST, with_names=True)
        self.records = [FileRecord(**stored) for stored in manifest["files"]]
        self.rows = np.fromfile(folder / TABLE_FILE, DOCUMENT)
        self.redacted = {entry["sha256"]: entry["counts"] for entry in Journal(folder / REDACTED_FILE).entries()}
