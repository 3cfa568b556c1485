"""Repeated passages: long stretches of text that stand in more than one document, by the suffix array of its bytes.

The suffix array puts places side by side whose text begins alike. Where two neighbours of different documents share
enough bytes, a passage is repeated (Lee et al. 2022, section 4.1, for tokens).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gptsmith.base.console import meter as console_meter
from gptsmith.data.care.duplicates import TRAIN, Spot, found_places, placed_document
from gptsmith.data.care.near_duplicates import Documents
from gptsmith.data.corpus import MeterFactory
from gptsmith.data.suffix_array import suffix_array

MIN_BYTES = 200
"""Of a passage: about 35 words, longer than what texts share by chance."""
MAX_BYTES = 20_000_000
"""Of text that is searched unless it is asked for: some seconds' work."""
SHOWN_BYTES = 200
"""Of the beginning of a passage."""
SEPARATOR = 0xFF
"""Behind each document: no byte of UTF-8."""


@dataclass(frozen=True)
class RepeatedPassage:
    """A passage of a document that stands in an earlier one, too.

    Attributes:
        document, of: the numbers of both.
        start, stop: its bytes in the document; it can be shorter in the other one, and go on in a third.
        of_start: its first byte in the other one.
    """

    document: int
    start: int
    stop: int
    of: int
    of_start: int


def repeated_passages(
    documents: Documents, group_of: np.ndarray, min_bytes: int = MIN_BYTES, meter: MeterFactory = console_meter
) -> list[RepeatedPassage]:
    """The passages of so many bytes and more that stand in an earlier document, too, the longest first. Earlier are
    those of files whose names come first. What near duplicates (N) have in common is left out.

    Raises:
        MissingExtraError: the library that sorts is not installed.
        UserError: there is too little memory.
    """
    text, starts = _joined_text(documents)
    array = suffix_array(text, SEPARATOR, meter)
    sizes = np.diff(np.append(starts, len(text)))
    document_of = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    rows, begins = _runs(array.places.view(np.int32), text, document_of, starts + sizes - 1, min_bytes)
    if not len(rows):
        return []
    places = array.places[rows].astype(np.int64)
    order = np.empty(len(sizes), np.int64)
    order[sorted(range(len(sizes)), key=documents.source)] = np.arange(len(sizes))
    key = order[document_of[places]] * len(text) + places
    first = np.minimum.reduceat(key, begins) % len(text)  # of each run, the place in the first document
    first = np.repeat(first, np.diff(np.append(begins, len(rows))))
    is_found = group_of[document_of[places]] != group_of[document_of[first]]
    by_place = np.flatnonzero(is_found)[np.argsort(places[is_found])]
    return _passages(places[by_place], first[by_place], document_of, starts, min_bytes)


def _joined_text(documents: Documents) -> tuple[np.ndarray, np.ndarray]:
    """All documents with a separator behind each, and where each begins."""
    texts = [documents.read(number) + bytes([SEPARATOR]) for number in range(len(documents))]
    starts = np.cumsum([0, *map(len, texts)])[:-1]
    return np.frombuffer(bytearray().join(texts), np.uint8), starts


def _runs(
    places: np.ndarray, text: np.ndarray, document_of: np.ndarray, ends: np.ndarray, min_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows (R) of places whose next so many bytes stand elsewhere, too, in runs that share these bytes, and where
    each run begins among them."""
    from pydivsufsort import kasai

    shared = kasai(text, places)[:-1]  # by each place and the next one in order
    room = (ends[document_of] - np.arange(len(text)))[places]  # up to the end of the document
    is_alike = np.minimum(shared, np.minimum(room[:-1], room[1:])) >= min_bytes
    after, before = np.append(is_alike, False), np.append(False, is_alike)
    rows = np.flatnonzero(after | before)
    return rows, np.flatnonzero(~before[rows])


def _passages(
    places: np.ndarray, first: np.ndarray, document_of: np.ndarray, starts: np.ndarray, min_bytes: int
) -> list[RepeatedPassage]:
    """The passages at places in order, of which those that overlap or touch are one."""
    if not len(places):
        return []
    documents, others = document_of[places], document_of[first]
    begins = np.flatnonzero(np.append(True, (np.diff(places) > min_bytes) | (np.diff(documents) != 0)))
    lasts = np.append(begins[1:], len(places)) - 1
    found = [
        RepeatedPassage(
            document=int(documents[row]),
            start=int(places[row] - starts[documents[row]]),
            stop=int(places[last] - starts[documents[row]]) + min_bytes,
            of=int(others[row]),
            of_start=int(first[row] - starts[others[row]]),
        )
        for row, last in zip(begins, lasts, strict=True)
    ]
    return sorted(found, key=lambda passage: (passage.start - passage.stop, passage.document))


def placed_passages(documents: Documents, passages: Sequence[RepeatedPassage]) -> list[dict[str, Any]]:
    """Passages as JSON values: the place of each, that in the other document (`of`), `num_bytes`, and how it begins
    (`text`)."""
    texts = [documents.read(each.document, each.start, each.stop) for each in passages]
    spots = [Spot(each.document, each.start, text) for each, text in zip(passages, texts, strict=True)]
    others = [Spot(each.of, each.of_start, text[:SHOWN_BYTES]) for each, text in zip(passages, texts, strict=True)]
    places = dict(found_places(documents, {*spots, *others}))
    return [
        {
            **asdict(placed_document(documents, spot.number, TRAIN, places[spot])),
            "of": asdict(placed_document(documents, other.number, TRAIN, places[other])),
            "num_bytes": len(spot.text),
            "text": spot.text[:SHOWN_BYTES].decode("utf-8", "ignore"),
        }
        for spot, other in zip(spots, others, strict=True)
    ]
