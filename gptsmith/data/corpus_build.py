"""The files of a corpus, and how they are written: source file by source file, resumed after a crash."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gptsmith.base.console import Meter
from gptsmith.base.errors import DataError, UserError
from gptsmith.base.files import readable_bytes, require_room, sha256_of, write_json
from gptsmith.data.cache import MANIFEST, Journal
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.care.left_out import KeptRows
from gptsmith.data.care.redaction import RedactedDocument
from gptsmith.data.deduplication import ExactDeduplication
from gptsmith.data.discover import Candidate
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents

FORMAT_VERSION = 2
TEXT_FILE, TABLE_FILE, JOURNAL_FILE = "documents.bin", "documents.table", "journal.jsonl"
# Work between two journal entries that a crash may cost; an entry per file would make many small files slow.
COMMIT_BYTES = 32_000_000

# One row per document: where its text ends in documents.bin, the file and bytes it was read from, its SHA-256.
DOCUMENT = np.dtype([("end", "<u8"), ("file", "<u4"), ("start", "<u8"), ("stop", "<u8"), ("sha256", "V32")])


@dataclass(frozen=True)
class FileRecord:
    """The outcome of reading one source file."""

    path: str
    sha256: str
    num_bytes: int
    num_documents: int = 0
    num_duplicates: int = 0
    left_out: tuple[str, ...] = ()
    """The SHA-256 of each document, or row of one, that a list names, so that it is not in the corpus."""

    redacted: dict[str, int] = field(default_factory=dict)
    """How many findings in its documents were replaced by placeholders, by kind."""

    skipped: str | None = None
    """Why the file was skipped; None if it was read."""

    remarks: tuple[str, ...] = ()
    """What of the file is not in its documents, though it was read."""

    text_fields: tuple[str, ...] = ()
    """The fields of its records that hold the text; none if it holds no records."""

    has_rows: bool = False
    """Whether each line of its documents is a row of a table."""


@dataclass
class CorpusBuild:
    """Reads the files into a folder, resuming after the last one in its journal."""

    folder: Path
    hashed: Sequence[tuple[Candidate, FileRecord]]
    settings: ReadSettings
    cleaning: Cleaning

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder / JOURNAL_FILE)
        self.records = [FileRecord(**entry) for entry in self.journal.entries()]
        self.pending: list[FileRecord] = []
        self.deduplication = ExactDeduplication()

    @property
    def num_bytes(self) -> int:
        """The bytes of the files that are still to be read."""
        return sum(record.num_bytes for _, record in self.hashed[len(self.records) :])

    def run(self, bar: Meter) -> None:
        """Write the corpus, and say how far it is."""
        left = self.hashed[len(self.records) :]
        require_room(self.folder, self.num_bytes, f"the text of {len(left):,} files")
        with self._opened(TEXT_FILE) as self.text, self._opened(TABLE_FILE) as self.rows:
            self._truncate_to_journal()
            uncommitted = done = 0
            for number, (candidate, record) in enumerate(left, len(self.records)):
                self.pending.append(self._read(number, candidate, record))
                done += record.num_bytes
                uncommitted += record.num_bytes
                bar.update(done, f"{readable_bytes(done)}, {self.num_documents:,} documents")
                if uncommitted >= COMMIT_BYTES:
                    self._commit()
                    uncommitted = 0
            self._commit()
        write_json(
            self.folder / MANIFEST,
            {
                "format_version": FORMAT_VERSION,
                "read_settings": self.settings.plain(),
                "files": [asdict(record) for record in self.records],
                "sizes": {name: (self.folder / name).stat().st_size for name in (TEXT_FILE, TABLE_FILE)},
                "sha256": {name: sha256_of(self.folder / name) for name in (TEXT_FILE, TABLE_FILE)},
            },
        )
        self.journal.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO]:
        path = self.folder / name
        path.touch()
        with path.open("r+b") as file:
            yield file

    def _truncate_to_journal(self) -> None:
        """Cut both files back to what the journal has."""
        self.num_documents = sum(record.num_documents for record in self.records)
        rows = np.fromfile(self.folder / TABLE_FILE, DOCUMENT, count=self.num_documents)
        for row in rows["sha256"]:
            self.deduplication.keep(row.tobytes())
        self.deduplication.commit()
        self._truncate(int(rows["end"][-1]) if len(rows) else 0, len(rows))

    def _truncate(self, num_bytes: int, num_documents: int) -> None:
        self.num_documents = num_documents
        for file, size in ((self.text, num_bytes), (self.rows, num_documents * DOCUMENT.itemsize)):
            file.seek(size)
            file.truncate()

    def _commit(self) -> None:
        for file in (self.text, self.rows):
            file.flush()
            os.fsync(file.fileno())
        self.journal.append(*(asdict(record) for record in self.pending))
        self.records += self.pending
        self.pending = []

    def _read(self, number: int, candidate: Candidate, record: FileRecord) -> FileRecord:
        """Add the documents of one file: all of them, or none if it turns out to be unreadable."""
        path = candidate.file.path
        began = self.text.tell(), self.num_documents
        try:
            added = self._add_documents(number, candidate)
            if path.stat().st_size != record.num_bytes:
                raise DataError(f"{path}: it changed while it was read; wait until it is complete")
        except (UserError, OSError) as error:
            if isinstance(error, OSError):
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                error = UserError(f"{path}: cannot be read: {error.strerror}")
            if candidate.named:
                raise error from None
            self._truncate(*began)
            self.deduplication.roll_back()
            reason = str(error).removeprefix(str(path)).lstrip(": ")
            return FileRecord(record.path, record.sha256, record.num_bytes, skipped=reason)
        self.deduplication.commit()
        return replace(
            record,
            num_documents=self.num_documents - began[1],
            remarks=tuple(candidate.file.remarks),
            has_rows=candidate.reader.has_rows(candidate.file),
            **added,
        )

    def _note(self, sha256: bytes, redacted: Counter[str]) -> None:
        """Takes note of a document that is kept, and of what was replaced in it."""

    def _add_documents(self, number: int, candidate: Candidate) -> dict[str, Any]:
        """Write a file's documents. Returns what its record has of them, and of those that are not written."""
        num_duplicates, left_out, redacted, fields = 0, dict[str, None](), Counter[str](), dict[str, None]()
        begin, start, digest = self.text.tell(), None, hashlib.sha256()
        document = RedactedDocument(self.cleaning.redaction)
        rows = KeptRows(self.cleaning.left_out) if candidate.reader.has_rows(candidate.file) else None
        for chunk in read_documents(candidate.reader, candidate.file, self.settings):
            fields.update(dict.fromkeys(chunk.fields))
            # JSON can spell half a surrogate pair, which is no character.
            digest.update(chunk.text.encode("utf-8", "replace"))
            text = chunk.text if rows is None else rows.add(chunk.text, last=chunk.last)
            self.text.write(document.add(text, last=chunk.last).encode("utf-8", "replace"))
            start = chunk.start if start is None else start
            if not chunk.last:
                continue
            # A document keeps the SHA-256 of what it was: by that a person names it.
            end, sha256 = self.text.tell(), digest.digest()
            is_named = sha256.hex() in self.cleaning.left_out
            if end > begin and not is_named and self.deduplication.keep(sha256):
                row = np.array([(end, number, start, chunk.end, sha256)], DOCUMENT)
                self.rows.write(row.tobytes())
                self.num_documents += 1
                redacted += document.counts
                self._note(sha256, document.counts)
            else:
                left_out.update({sha256.hex(): None} if is_named else {})
                num_duplicates += end > begin and not is_named
                self._truncate(begin, self.num_documents)
            begin, start, digest = self.text.tell(), None, hashlib.sha256()
            document = RedactedDocument(self.cleaning.redaction)
        return {
            "num_duplicates": num_duplicates,
            "left_out": (*left_out, *(rows.left_out if rows is not None else ())),
            "redacted": dict(redacted),
            "text_fields": tuple(fields),
        }
