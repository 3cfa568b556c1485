"""The corpus: every document's text in one file, after exact deduplication, each with its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.console import Meter
from gptsmith.base.console import meter as console_meter
from gptsmith.base.errors import DataError, UserError
from gptsmith.base.files import read_json, sha256_of
from gptsmith.data.cache import MANIFEST, Hold, built_once, key_of
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.corpus_build import DOCUMENT, FORMAT_VERSION, TABLE_FILE, TEXT_FILE, CorpusBuild, FileRecord
from gptsmith.data.discover import Candidate, Found, discover
from gptsmith.data.readers import ReadSettings
from gptsmith.data.reading_versions import reading_versions
from gptsmith.data.skipped_files import reasons_in_words

MeterFactory = Callable[..., AbstractContextManager[Meter]]


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
    def redacted(self) -> dict[str, int]:
        """How many findings were replaced by placeholders, by kind."""
        return dict(sum((Counter(file.redacted) for file in self.files), Counter[str]()))

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
            "redacted": self.redacted,
            "skipped": {**self.unopened, **skipped},
            "remarks": {file.path: list(file.remarks) for file in read if file.remarks},
            "files": {file.path: file.sha256 for file in read},
            "text_fields": {file.path: list(file.text_fields) for file in read if file.text_fields},
        }


@dataclass(frozen=True)
class HashedFiles:
    """Files to read with their hashes, ordered by these."""

    files: list[tuple[Candidate, FileRecord]]
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that are not read, each with its reason."""

    def key(self, settings: ReadSettings, cleaning: Cleaning) -> str:
        """The same for the same content, read in the same way."""
        return key_of(
            FORMAT_VERSION,
            settings.plain(),
            [(record.sha256, item.file.extension, item.reader.kind) for item, record in self.files],
            reading_versions(item for item, _ in self.files),
            cleaning.key(),
        )


def hashed_files(found: Found, meter: MeterFactory = console_meter) -> HashedFiles:
    """The files that were found, with their hashes.

    Raises:
        DataError: one that a person named cannot be read.
    """
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
    hashed.sort(key=lambda item: (item[1].sha256, item[0].file.extension, item[1].path))
    return HashedFiles(hashed, found.skipped)


def read_corpus(
    sources: Iterable[str | Path] | Found | HashedFiles,
    settings: ReadSettings,
    cache: Path,
    meter: MeterFactory = console_meter,
    cleaning: Cleaning | None = None,
    build: Callable[..., CorpusBuild] = CorpusBuild,
) -> Corpus:
    """The documents of files, folders and globs, or of those that were found, without what is taken out of them; found
    again by their content, whatever the files are called.

    Files are read in the order of their hashes, so that the same content gives the same corpus everywhere.

    Args:
        build: writes the corpus, given the folder, the files, the settings and the cleaning.

    Raises:
        DataError: a source cannot be read, there is no text, or the disk is full.
    """
    reading = ReadSettings(**{name: getattr(settings, name) for name in ReadSettings.model_fields})
    cleaning = cleaning or Cleaning()
    if not isinstance(sources, HashedFiles):
        sources = hashed_files(sources if isinstance(sources, Found) else discover(sources), meter)
    hashed = sources.files
    target = private_folder(cache / "corpora") / sources.key(reading, cleaning)
    with built_once(target, is_whole) as working:
        if working is not None:
            building = build(working, hashed, reading, cleaning)
            with meter("reading files", building.num_bytes, count=False) as bar:
                building.run(bar)
    manifest = read_json(target / MANIFEST, with_names=True)
    records = [
        FileRecord(**{**stored, "path": now.path}) for stored, (_, now) in zip(manifest["files"], hashed, strict=True)
    ]
    for (candidate, _), record in zip(hashed, records, strict=True):
        if candidate.named and record.skipped is not None:
            raise DataError(f"{record.path}: {record.skipped}")
    corpus = Corpus(target, key_of(manifest["sha256"]), records, sources.skipped, Hold(target))
    cleaning.left_out.found.update(corpus.left_out)
    cleaning.redaction.counts.update(corpus.redacted)
    if not corpus.num_bytes and corpus.left_out:
        named = ", ".join(cleaning.left_out.lists)
        raise DataError(
            f"{named}: all {len(corpus.left_out):,} documents of these texts are left out: name more texts, or a "
            "shorter list"
        )
    if not corpus.num_bytes:
        reasons = reasons_in_words(corpus.summary["skipped"])
        raise DataError(
            f"{', '.join(record.path for record in records[:3])}: no text in {len(records)} "
            f"{'file' if len(records) == 1 else 'files'}{f' ({reasons})' if reasons else ''}: name files that have some"
        )
    return corpus


def kept_corpus(folder: Path) -> Corpus | None:
    """The corpus in a folder of the cache, with the names that its files had when it was made; None if it is not there
    whole."""
    if not is_whole(folder):
        return None
    manifest = read_json(folder / MANIFEST, with_names=True)
    records = [FileRecord(**stored) for stored in manifest["files"]]
    return Corpus(folder, key_of(manifest["sha256"]), records, hold=Hold(folder))


def is_whole(folder: Path) -> bool:
    """Whether a corpus is as its manifest says."""
    try:
        manifest = read_json(folder / MANIFEST, with_names=True)
        return bool(manifest["sizes"] == {name: (folder / name).stat().st_size for name in manifest["sizes"]})
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return False
