"""Which document is a near duplicate of which, and which of a split to validate or test with is trained on, too; each
with its file and line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gptsmith.base.console import meter as console_meter
from gptsmith.data.care.near_duplicates import SIMILARITY, Documents, near_duplicates
from gptsmith.data.corpus import Corpus, MeterFactory
from gptsmith.data.passages import Found, SearchedFiles

TRAIN = "train"
NUM_COMPARED = 100
"""Documents of a group that one is compared with, to name the most similar one."""
FOUND_BY_BYTES = 400
"""Of a document, which are looked for in its file."""

Pair = tuple[int, int, float]
"""Two documents, by their numbers, and their similarity."""


@dataclass(frozen=True)
class PlacedDocument:
    """A document in the files of a person.

    Attributes:
        split: `train`, `validation` or `test`.
        document: its number in the corpus of its split.
        sha256: of its text.
        start, stop: its bytes in the file, decompressed if it is packed; None in formats whose text is packed or marked
            up.
        line: the line that it begins in, from 1; None as above.
    """

    split: str
    document: int
    sha256: str
    file: str
    start: int | None
    stop: int | None
    line: int | None


@dataclass(frozen=True)
class Duplicate:
    """A document that is much like another one.

    Attributes:
        similarity: the Jaccard similarity of their shingles of five words; 1 for the same text.
        is_exact: whether their texts are the same, byte for byte.
    """

    document: PlacedDocument
    of: PlacedDocument
    similarity: float
    is_exact: bool

    def plain(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            **asdict(self.document), "of": asdict(self.of), "similarity": self.similarity, "is_exact": self.is_exact
        }  # fmt: skip


@dataclass(frozen=True)
class Duplicates:
    """Duplicates in some splits.

    Attributes:
        near: within a split, the documents that need not be there, each with the one that stays in its place: of those
            that are similar, the first, where files are taken by name and their documents in order.
        leaks: documents to validate or to test with, each with the most similar one that is trained on.
        leaking: the documents that are trained on in spite of such, each with the most similar one of these.
    """

    near: list[Duplicate]
    leaks: list[Duplicate]
    leaking: list[Duplicate]

    def listed(self) -> list[dict[str, Any]]:
        """The documents to leave out, as a list of findings has them: near duplicates, and what is trained on of what
        is to validate or to test."""
        left_out = {found.document: (kind, found) for kind, found in (
            *(("near_duplicate", found) for found in self.near), *(("leak", found) for found in self.leaking)
        )}  # fmt: skip
        return [
            {"kind": kind, "is_secret": False, "text": "", "placeholder": "", **found.plain()}
            for kind, found in left_out.values()
        ]


def duplicates(splits: Mapping[str, Corpus], cache: Path, meter: MeterFactory = console_meter) -> Duplicates:
    """The near duplicates in each split, and the documents of other splits that are trained on, too.

    Raises:
        UserError: the disk is full.
    """
    documents = Documents(list(splits.values()))
    split_of = [split for split, corpus in splits.items() for _ in range(len(corpus))]
    near, leaks, leaking = (list[Pair]() for _ in range(3))
    for group in near_duplicates(documents.corpora, cache, meter).groups():
        members: dict[bool, list[int]] = {True: [], False: []}
        kept: dict[str, list[int]] = {split: [] for split in splits}
        for number in sorted(group.tolist(), key=documents.source):
            split = split_of[number]
            members[split == TRAIN].append(number)
            near += (found := _similar(documents, [number], kept[split]))
            if not found:
                kept[split].append(number)
        leaks += _similar(documents, members[False], members[True])
        leaking += _similar(documents, members[True], members[False])
    named = {number for one, other, _ in (*near, *leaks, *leaking) for number in (one, other)}
    spots = [Spot(number, 0, documents.read(number, 0, FOUND_BY_BYTES)) for number in named]
    placed = {}
    for spot, place in found_places(documents, spots):
        end = documents.source(spot.number)[2]
        placed[spot.number] = placed_document(documents, spot.number, split_of[spot.number], place, end)

    def found_in(pairs: list[Pair]) -> list[Duplicate]:
        return [
            Duplicate(placed[one], placed[other], similarity, documents.sha256(one) == documents.sha256(other))
            for one, other, similarity in pairs
        ]

    return Duplicates(found_in(near), found_in(leaks), found_in(leaking))


def _similar(documents: Documents, numbers: Sequence[int], others: Sequence[int]) -> list[Pair]:
    """Each of some documents of a group that is a near duplicate of others, with the most similar of these."""
    found = []
    for number in numbers:
        own = documents.sha256(number)
        pairs = [(number, other, documents.similarity(number, other)) for other in others[:NUM_COMPARED]]
        best = max(pairs, key=lambda pair: (documents.sha256(pair[1]) == own, pair[2]), default=(number, number, 0.0))
        if best[2] >= SIMILARITY:
            found.append(best)
    return found


class Spot(NamedTuple):
    """A passage of a document."""

    number: int
    start: int
    """Its first byte in the document."""

    text: bytes


def found_places(documents: Documents, spots: Iterable[Spot]) -> Iterator[tuple[Spot, Found | None]]:
    """Passages, and where they stand in the files of their documents; None in formats whose text is packed or marked
    up."""
    with SearchedFiles() as files:
        for spot in sorted(spots, key=lambda spot: documents.source(spot.number)):
            path, begin, end = documents.source(spot.number)
            yield spot, files.find(path, spot.text.decode("utf-8", "ignore"), begin, end, begin + spot.start)


def placed_document(
    documents: Documents, number: int, split: str, place: Found | None, stop: int | None = None
) -> PlacedDocument:
    """A document at a place, up to the byte `stop` if it is given."""
    _, document = documents.at(number)
    start, end, line = (None, None, None) if place is None else (place.start, stop or place.stop, place.line)
    return PlacedDocument(split, document, documents.sha256(number), documents.source(number)[0], start, end, line)
