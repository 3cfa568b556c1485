"""Collections read in the background: where a reading is, and the corpus that came of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.console import Meter
from gptsmith.base.errors import UserError
from gptsmith.data.corpus import Corpus, read_corpus
from gptsmith.data.corpus_build import FileRecord
from gptsmith.data.discover import Candidate, Found, discover
from gptsmith.data.folder_splits import found_splits
from gptsmith.data.settings import DataSettings
from gptsmith.serve.log import log_failure
from gptsmith.serve.studio.data.collections import Collection
from gptsmith.serve.studio.data.document_numbers import DocumentNumbers
from gptsmith.serve.studio.data.listing import stamp_of

MAX_KEPT = 20
"""Readings of collections that are remembered."""


class ReadingCancelledError(Exception):
    """A person does not wait for it."""


@dataclass
class Reading:
    """A reading of the sources of a collection.

    Attributes:
        version: of the files that are read.
        state: `reading`, `read`, `failed` or `cancelled`.
        fraction: how far it is; None if that is not known.
        problem: why it failed, for a person.
        found: the files, when it is over.
        splits: what is to be said of splits that the files have of their own.
    """

    version: str
    sources: Path
    state: str = "reading"
    words: str = ""
    fraction: float | None = None
    problem: str | None = None
    found: Found = field(default_factory=Found)
    splits: str | None = None
    corpus: Corpus | None = None
    is_cancelled: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Reads the files, or finds in the cache what was read of them."""
        try:
            self._keep_on()
            self.found = discover([self.sources])
            self.splits = found_splits([self.sources], validates=True).note
            self.corpus = read_corpus(self.found, DataSettings(), default_cache(), self._meter)
            self.state = "read"
        except ReadingCancelledError:
            self.state = "cancelled"
        except UserError as error:
            self.state, self.problem = "failed", str(error)
        except Exception as error:
            log_failure(error)
            self.state, self.problem = "failed", f"these files cannot be read ({type(error).__name__})"
        finally:
            self.is_over.set()

    def _keep_on(self) -> None:
        if self.is_cancelled:
            raise ReadingCancelledError

    @contextmanager
    def _meter(self, title: str, total: float, *, count: bool = True) -> Iterator[Meter]:
        yield cast(Meter, _Told(self, title, total))

    @cached_property
    def order(self) -> np.ndarray:
        """The numbers of the documents, by the names of their files and their places in these."""
        assert self.corpus is not None
        table = self.corpus.table
        rank = np.argsort(np.argsort([file.path for file in self.corpus.files]))
        return np.lexsort((np.arange(len(table)), rank[table["file"]]))

    @cached_property
    def number_of(self) -> DocumentNumbers:
        """The number of each document, by the SHA-256 of its text."""
        assert self.corpus is not None
        return DocumentNumbers(self.corpus.table["sha256"])

    @property
    def files(self) -> list[FileRecord]:
        """What came of each file."""
        assert self.corpus is not None
        return self.corpus.files

    def file_of(self, document: str) -> Path:
        """The file that a document was read from."""
        assert self.corpus is not None
        return self.corpus.source(self.number_of[document])[0]

    def candidate_of(self, document: str) -> Candidate:
        """The same, with its reader."""
        path = self.file_of(document)
        return next(each for each in self.found.candidates if each.file.path == path)


class _Told:
    """A meter that tells a reading how far it is."""

    def __init__(self, reading: Reading, title: str, total: float) -> None:
        self._reading, self._total = reading, total
        reading.words, reading.fraction = title, None

    def update(self, done: float, figures: str = "") -> None:
        self._reading._keep_on()
        self._reading.fraction = min(done / self._total, 1.0) if self._total else None

    def resize(self, total: float) -> None:
        self._total = total


class Readings:
    """The readings of a studio: one after the other, each begun when somebody asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readings: dict[int, Reading] = {}
        self._thread = ThreadPoolExecutor(1, "reading")

    def of(self, collection: Collection, *, is_wanted: bool = True) -> Reading:
        """The reading of a collection's files as they are now; it begins if there is none.

        Args:
            is_wanted: whether one that was cancelled begins again.
        """
        version = stamp_of(collection)
        with self._lock:
            reading = self._readings.get(collection.number)
            if reading is not None and reading.version == version and not (is_wanted and reading.state == "cancelled"):
                return reading
            if reading is not None:
                reading.is_cancelled = True
                del self._readings[collection.number]  # the newest are last
            self._readings[collection.number] = reading = Reading(version, collection.sources)
            for number in list(self._readings)[:-MAX_KEPT]:
                if self._readings[number].is_over.is_set():  # else somebody may wait for it
                    del self._readings[number]
        self._thread.submit(reading.run)
        return reading

    def read(self, collection: Collection) -> Reading:
        """The reading of a collection, when it is over.

        Raises:
            UserError: the files cannot be read, or somebody cancelled it.
        """
        reading = self.of(collection)
        reading.is_over.wait()
        if reading.corpus is None:
            raise UserError(reading.problem or "the reading was cancelled")
        return reading

    def num_documents(self, collection: Collection) -> int | None:
        """The documents that were read last; None if none were yet."""
        with self._lock:
            reading = self._readings.get(collection.number)
        return None if reading is None or reading.corpus is None else len(reading.corpus)

    def cancel(self, collection: Collection) -> None:
        """Ends the reading of a collection; what was read so far is kept."""
        with self._lock:
            reading = self._readings.get(collection.number)
        if reading is not None:
            reading.is_cancelled = True

    def close(self) -> None:
        """Ends all, and with them the waiting of those who wait for one."""
        with self._lock:
            for reading in self._readings.values():
                reading.is_cancelled = True
        self._thread.shutdown(wait=True)
