"""Folders of one's own in which questions are looked up."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path
from typing import Any

import gptsmith.retrieval
from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_json
from gptsmith.base.versions import source_sha256
from gptsmith.data.cache import MANIFEST, Hold, key_of, mark_used
from gptsmith.data.cache_contents import FOLDERS, few_names
from gptsmith.data.discover import Found, discover
from gptsmith.retrieval.index import Index, Row
from gptsmith.retrieval.mending import Mending
from gptsmith.retrieval.terms import MAX_TERMS, question_terms

DATABASE = "passages.sqlite"
MAX_COUNTED = 128
"""The words of a long message whose rarity is looked up: its first ones."""
NUM_CANDIDATES = 50
NUM_SOURCES = 3
NUM_ELSEWHERE = 100
"""Passages that there are elsewhere, as it were: they make a word rare that most passages of a small folder have."""
MIN_COVERAGE = 0.55
"""The part of what a question asks for, by the rarity of its words, that a passage must have."""
LOOK_EVERY_S = 2.0
"""Files are looked at again for a question that comes so long after the last."""
WAIT_S = 2.0
"""How long a question waits for files that are being read; then it is looked up in what is known."""
REACH = 1
"""The neighbours that are shown on either side of a passage."""


@dataclass(frozen=True)
class Source:
    """A passage that was found.

    Attributes:
        id: by which it is asked for later.
        file: its file, as a path within the folder.
        line: where it begins, from 1; None where its file has no lines.
        score: how well it fits, by BM25.
        terms: the words of the question that it has.
    """

    id: str
    file: str
    headings: tuple[str, ...]
    line: int | None
    text: str
    score: float = 0.0
    terms: frozenset[str] = frozenset()

    def fields(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "id": self.id, "file": self.file, "headings": list(self.headings), "line": self.line, "text": self.text,
        }  # fmt: skip

    @property
    def place(self) -> str:
        """Where it stands, for a person."""
        line = "" if self.line is None else f", line {self.line:,}"
        return ", ".join(filter(None, (f"{self.file}{line}", " > ".join(self.headings))))


def _roots(sources: Sequence[Path]) -> list[str]:
    """Where folders are, in an order that does not depend on how they were named."""
    return sorted({str(source.resolve()) for source in sources})


def index_folder(sources: Sequence[Path], mending: Mending | None = None) -> Path:
    """The folder in the cache that has, or will have, the index of some folders (or files) as they are mended."""
    changes = [mending.key] if mending is not None and mending.key else []
    return default_cache() / FOLDERS["documents"] / key_of(_roots(sources), source_sha256(gptsmith.retrieval), *changes)


class Documents:
    """Some folders (or files), and the index of their passages, which follows them as they change.

    Attributes:
        skipped: the files that are not read, as paths within their folder, each with the reason.
    """

    def __init__(
        self,
        sources: Sequence[str | Path],
        observe: Callable[[int, int], None] = lambda *_: None,
        mending: Mending | None = None,
    ) -> None:
        """Reads what is not yet indexed.

        Args:
            observe: called with the number of files that were looked at, and that of all.
            mending: what is read in the place of documents.

        Raises:
            DataError: there is nothing to read.
        """
        self._sources = [Path(source).expanduser().resolve() for source in sources]
        found = discover(self._sources)
        self.folder = private_folder(index_folder(self._sources, mending))
        self._hold = Hold(self.folder)
        mark_used(self.folder)
        write_json(self.folder / MANIFEST, {"made_from": few_names(_roots(self._sources))})
        self.index = Index(self.folder / DATABASE, mending)
        self.skipped: dict[str, str] = {}
        self._lock, self._looking = threading.Lock(), threading.Thread()
        self._update(found, observe)
        self._looked_at = time.monotonic()

    def _update(self, found: Found, observe: Callable[[int, int], None] = lambda *_: None) -> None:
        num_files = len(found.candidates)
        self.index.update(found.candidates, lambda done: observe(done, num_files))
        skipped = {**found.skipped, **self.index.problems()}
        self.skipped = {self._shown(Path(path)): reason for path, reason in skipped.items()}

    def refresh(self) -> None:
        """Follows what has changed in the folders. One that is gone, as a disk that is not there, is left as it was."""
        if not all(source.exists() or has_magic(str(source)) for source in self._sources):
            return
        try:
            found = discover(self._sources)
        except UserError:  # nothing is left to read
            found = Found()
        try:
            self._update(found)
        except (UserError, OSError) as error:  # as a full disk; questions are looked up in what is known
            reason = str(error).removeprefix(f"{self.index.path}: ")
            self.skipped = {self._sources[0].name: f"what has changed in it is not known: {reason}"}

    def _follow(self) -> None:
        """Looks at the files in a thread, if that was long ago, and waits for it a little."""
        with self._lock:
            if self._looking.is_alive() or time.monotonic() - self._looked_at < LOOK_EVERY_S:
                return
            # Nobody waits for it at the end of the program: what it has not written is read the next time.
            self._looking = threading.Thread(target=self.refresh, name="documents", daemon=True)
            self._looking.start()
            self._looking.join(WAIT_S)
            self._looked_at = time.monotonic()

    def search(self, question: str, count: int = NUM_SOURCES) -> list[Source]:
        """The passages that answer a question best, if any has enough of what it asks for; else none."""
        self._follow()
        terms = question_terms(question)[:MAX_COUNTED]
        num_passages = self.index.counts()[1]
        if not terms or not num_passages:
            return []
        rarity = {
            term: math.log((num_passages + NUM_ELSEWHERE) / (num_with + 1))
            for term, num_with in zip(terms, self.index.num_with(terms), strict=True)
        }
        terms = sorted(terms, key=lambda term: -rarity[term])[:MAX_TERMS]
        total = sum(rarity[term] for term in terms)
        found: dict[str, Source] = {}
        for id_, score, has in self.index.best(terms, NUM_CANDIDATES):
            coverage = sum(rarity[term] for term in has) / total
            row = self.index.row(id_) if coverage >= MIN_COVERAGE else None
            if row is not None and row.path:
                found.setdefault(row.text, self._source(row, score, has))
            if len(found) == count:
                break
        return list(found.values())

    def passage(self, id_: str) -> list[Source]:
        """A passage and its neighbours in the document; none if it is gone."""
        content, _, number = id_.partition("-")
        if not number.isdecimal() or len(number) > 9:
            return []
        return [self._source(row) for row in self.index.around(content, int(number), REACH)]

    def _source(self, row: Row, score: float = 0.0, terms: frozenset[str] = frozenset()) -> Source:
        id_ = f"{row.content}-{row.number}"
        return Source(id_, self._shown(Path(row.path)), row.headings, row.line, row.text, score, terms)

    def _shown(self, path: Path) -> str:
        """A file's path within its folder, behind the name of that if there are several."""
        for source in self._sources:
            if path.is_relative_to(source) and path != source:
                inside = path.relative_to(source)
                return str(inside if len(self._sources) == 1 else source.name / inside)
        return path.name
