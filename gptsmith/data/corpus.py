"""The corpus: every document's text in one file, after exact deduplication, each with its source."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.console import Meter
from gptsmith.base.console import meter as console_meter
from gptsmith.base.errors import DataError, UserError
from gptsmith.base.files import read_json, readable_bytes, require_room, sha256_of, write_json
from gptsmith.data.cache import MANIFEST, Hold, Journal, built_once, key_of
from gptsmith.data.deduplication import ExactDeduplication
from gptsmith.data.discover import Candidate, Found, discover
from gptsmith.data.left_out import LeftOut
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading import read_documents
from gptsmith.data.reading_versions import reading_versions

MeterFactory = Callable[..., AbstractContextManager[Meter]]

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
    """The SHA-256 of each document that a list names, so that it is not in the corpus."""

    skipped: str | None = None
    """Why the file was skipped; None if it was read."""

    remarks: tuple[str, ...] = ()
    """What of the file is not in its documents, though it was read."""

    text_fields: tuple[str, ...] = ()
    """The fields of its records that hold the text; none if it holds no records."""


@dataclass(frozen=True)
class Corpus:
    """The documents of some sources, on disk; texts are read on demand."""

    folder: Path
    fingerprint: str
    """The SHA-256 of its text and its table: the same for the same documents from the same places of files."""

    files: list[FileRecord]
    unopened: dict[str, str] = field(default_factory=dict)
    """Files that were skipped without opening them, each with its reason."""

    hold: Hold | None = field(default=None, repr=False, compare=False)
    """Keeps it in the cache."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def table(self) -> np.ndarray:
        """The rows of all documents, as `DOCUMENT` describes them, memory-mapped."""
        path = self.folder / TABLE_FILE
        # An empty file cannot be mapped.
        return np.memmap(path, dtype=DOCUMENT, mode="r") if path.stat().st_size else np.empty(0, DOCUMENT)

    @property
    def num_bytes(self) -> int:
        """The size of all documents in UTF-8."""
        return (self.folder / TEXT_FILE).stat().st_size

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The first byte of every document in `documents.bin`, and the byte after its last."""
        stops = self.table["end"].astype(np.int64)
        return np.concatenate([np.zeros(1, np.int64), stops[:-1]]), stops

    def text(self, document: int) -> str:
        """The whole text of one document."""
        table = self.table
        start = int(table["end"][document - 1]) if document else 0
        return self.read(start, int(table["end"][document])).decode("utf-8")

    def read(self, start: int, stop: int) -> bytes:
        """Bytes of `documents.bin`."""
        with self.open() as file:
            file.seek(start)
            return file.read(stop - start)

    def open(self) -> BinaryIO:
        return (self.folder / TEXT_FILE).open("rb")

    def source(self, document: int) -> tuple[Path, int, int]:
        """The file that a document was read from, and its first byte and the one after its last in that file."""
        row = self.table[document]
        return Path(self.files[int(row["file"])].path), int(row["start"]), int(row["stop"])

    @property
    def left_out(self) -> set[str]:
        """The SHA-256 of the documents that were left out because a list names them."""
        return {sha256 for file in self.files for sha256 in file.left_out}

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, every file with its SHA-256, and what was skipped and why."""
        read = [file for file in self.files if file.skipped is None]
        skipped = {file.path: file.skipped for file in self.files if file.skipped is not None}
        return {
            "num_files": len(read),
            "num_documents": len(self),
            "num_bytes": self.num_bytes,
            "num_duplicates": sum(file.num_duplicates for file in read),
            "num_left_out": len(self.left_out),
            "skipped": {**self.unopened, **skipped},
            "remarks": {file.path: list(file.remarks) for file in read if file.remarks},
            "files": {file.path: file.sha256 for file in read},
            "text_fields": {file.path: list(file.text_fields) for file in read if file.text_fields},
        }


def read_corpus(
    sources: Iterable[str | Path] | Found,
    settings: ReadSettings,
    cache: Path,
    meter: MeterFactory = console_meter,
    left_out: LeftOut | None = None,
) -> Corpus:
    """The documents of files, folders and globs, or of those that were found, without those that are to be left out;
    found again by their content, whatever the files are called.

    Files are read in the order of their hashes, so that the same content gives the same corpus everywhere.

    Raises:
        DataError: a source cannot be read, there is no text, or the disk is full.
    """
    reading = ReadSettings(**{name: getattr(settings, name) for name in ReadSettings.model_fields})
    left_out = left_out or LeftOut()
    found = sources if isinstance(sources, Found) else discover(sources)
    hashed = _hashed(found, meter)
    key = key_of(
        FORMAT_VERSION,
        reading.plain(),
        [(record.sha256, item.file.extension, item.reader.kind) for item, record in hashed],
        reading_versions(item for item, _ in hashed),
        left_out.key(),
    )
    target = private_folder(cache / "corpora") / key
    with built_once(target, _is_whole) as working:
        if working is not None:
            _Build(working, hashed, reading, left_out).run(meter)
    manifest = read_json(target / MANIFEST, with_names=True)
    records = [
        FileRecord(**{**stored, "path": now.path}) for stored, (_, now) in zip(manifest["files"], hashed, strict=True)
    ]
    for (candidate, _), record in zip(hashed, records, strict=True):
        if candidate.named and record.skipped is not None:
            raise DataError(f"{record.path}: {record.skipped}")
    corpus = Corpus(target, key_of(manifest["sha256"]), records, found.skipped, Hold(target))
    left_out.found.update(corpus.left_out)
    if not corpus.num_bytes and corpus.left_out:
        raise DataError(
            f"{', '.join(left_out.lists)}: all {len(corpus.left_out):,} documents of these texts are left out: "
            "name more texts, or a shorter list"
        )
    if not corpus.num_bytes:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in list(corpus.summary["skipped"].items())[:3])
        raise DataError(
            f"{', '.join(record.path for record in records[:3])}: no text in {len(records)} "
            f"{'file' if len(records) == 1 else 'files'}{f' ({reasons})' if reasons else ''}: name files that have some"
        )
    return corpus


def kept_corpus(folder: Path) -> Corpus | None:
    """The corpus in a folder of the cache, with the names that its files had when it was made; None if it is not there
    whole."""
    if not _is_whole(folder):
        return None
    manifest = read_json(folder / MANIFEST, with_names=True)
    records = [FileRecord(**stored) for stored in manifest["files"]]
    return Corpus(folder, key_of(manifest["sha256"]), records, hold=Hold(folder))


def _hashed(found: Found, meter: MeterFactory) -> list[tuple[Candidate, FileRecord]]:
    """The candidates with their hashes, ordered by these."""
    hashed = []
    with meter("hashing files", len(found.candidates)) as bar:
        for number, candidate in enumerate(found.candidates):
            path = candidate.file.path
            try:
                hashed.append((candidate, FileRecord(str(path), sha256_of(path), path.stat().st_size)))
            except OSError as error:
                if candidate.named:
                    raise DataError(f"{path} cannot be read: {error.strerror}") from None
                found.skipped[str(path)] = f"cannot be read: {error.strerror}"
            bar.update(number + 1)
    return sorted(hashed, key=lambda item: (item[1].sha256, item[0].file.extension, item[1].path))


def _is_whole(folder: Path) -> bool:
    """Whether a corpus is as its manifest says."""
    try:
        manifest = read_json(folder / MANIFEST, with_names=True)
        return bool(manifest["sizes"] == {name: (folder / name).stat().st_size for name in manifest["sizes"]})
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return False


class _Build:
    """Reads the files into a folder, resuming after the last one in its journal."""

    def __init__(
        self,
        folder: Path,
        hashed: Sequence[tuple[Candidate, FileRecord]],
        settings: ReadSettings,
        left_out: LeftOut,
    ) -> None:
        self.folder, self.hashed, self.settings, self.left_out = folder, hashed, settings, left_out
        self.journal = Journal(folder / JOURNAL_FILE)
        self.records = [FileRecord(**entry) for entry in self.journal.entries()]
        self.pending: list[FileRecord] = []
        self.deduplication = ExactDeduplication()

    def run(self, meter: MeterFactory) -> None:
        left = self.hashed[len(self.records) :]
        num_bytes = sum(record.num_bytes for _, record in left)
        require_room(self.folder, num_bytes, f"the text of {len(left):,} files")
        with self._opened(TEXT_FILE) as self.text, self._opened(TABLE_FILE) as self.rows:
            self._truncate_to_journal()
            uncommitted = done = 0
            with meter("reading files", num_bytes, count=False) as bar:
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
            **added,
        )

    def _add_documents(self, number: int, candidate: Candidate) -> dict[str, Any]:
        """Write a file's documents. Returns what its record has of those that are not written, and the fields of
        text."""
        num_duplicates, left_out, fields = 0, dict[str, None](), dict[str, None]()
        begin, start, digest = self.text.tell(), None, hashlib.sha256()
        for chunk in read_documents(candidate.reader, candidate.file, self.settings):
            fields.update(dict.fromkeys(chunk.fields))
            # JSON can spell half a surrogate pair, which is no character.
            data = chunk.text.encode("utf-8", "replace")
            digest.update(data)
            self.text.write(data)
            start = chunk.start if start is None else start
            if not chunk.last:
                continue
            end, sha256 = self.text.tell(), digest.digest()
            if sha256.hex() in self.left_out:
                left_out[sha256.hex()] = None
                self._truncate(begin, self.num_documents)
            elif end > begin and self.deduplication.keep(sha256):
                row = np.array([(end, number, start, chunk.end, sha256)], DOCUMENT)
                self.rows.write(row.tobytes())
                self.num_documents += 1
            else:
                num_duplicates += end > begin
                self._truncate(begin, self.num_documents)
            begin, start, digest = self.text.tell(), None, hashlib.sha256()
        return {"num_duplicates": num_duplicates, "left_out": tuple(left_out), "text_fields": tuple(fields)}
