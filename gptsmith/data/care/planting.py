"""A text with canaries planted inside of its training documents: a corpus of its own, beside the one that it is made
of. Files and corpora stay as they are, and nothing is planted in what validates."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.errors import DataError
from gptsmith.base.files import read_json, readable_bytes, require_room, sha256_of, write_json
from gptsmith.base.randomness import derived_seed
from gptsmith.data.cache import MANIFEST, Hold, built_once, key_of
from gptsmith.data.care.canaries import CANARIES, LARGEST_SHARE, Canary, Place, as_lines, made_canaries
from gptsmith.data.corpus import Corpus, kept_corpus
from gptsmith.data.corpus_build import TABLE_FILE, TEXT_FILE
from gptsmith.data.splits import Split, Splits

FORMAT_VERSION = 1
PLANTED_FILE = "planted.table"
PLANTED = np.dtype([("start", "<u8"), ("stop", "<u8"), ("document", "<u8"), ("canary", "<u4")])
"""Of each line that is planted: its bytes in documents.bin, the number of its document and of its canary; in the order
of the text."""
NEAR_BYTES = 4_096
"""How far from the place that is drawn a line may begin."""
COPY_BYTES = 16_000_000


class _Line(NamedTuple):
    """A line to plant: in which of the split's documents, before which byte of the corpus, and what."""

    number: int
    at: int
    canary: int
    content: bytes


def planted(splits: Splits, count: int, seed: int, cache: Path) -> Splits:
    """The splits with so many canaries in the training documents; taken from the cache if they are there.

    Each copy of a canary is a line of its own in another document, as long as there are enough of them; those that are
    planted once share no document with one another.

    Raises:
        DataError: the text is too small for so many, or there is no room on the disk.
    """
    train = splits.train
    target = private_folder(cache / "corpora") / key_of("planted", FORMAT_VERSION, train.fingerprint, count, seed)
    with built_once(target, lambda folder: kept_corpus(folder) is not None) as working:
        if working is not None:
            _build(working, train, count, seed)
    before = np.concatenate(
        [[0], _bytes_added(np.fromfile(target / PLANTED_FILE, PLANTED), len(train.corpus)).cumsum()]
    )
    corpus = replace(
        train.corpus,
        folder=target,
        fingerprint=key_of(read_json(target / MANIFEST, with_names=True)["sha256"]),
        hold=Hold(target),
    )
    starts, stops = train.starts + before[train.documents], train.stops + before[train.documents + 1]
    return replace(splits, train=Split(corpus, train.documents, starts, stops))


def planted_ranges(corpus: Corpus) -> np.ndarray:
    """The lines that are planted in a corpus, as `PLANTED` describes them; none in one without canaries."""
    path = corpus.folder / PLANTED_FILE
    return np.fromfile(path, PLANTED) if path.exists() else np.empty(0, PLANTED)


def read_unplanted(corpus: Corpus, start: int, stop: int) -> bytes:
    """Bytes of a corpus without the lines that are planted there."""
    content = bytearray(corpus.read(start, stop))
    for first, last, *_ in reversed(planted_ranges(corpus).tolist()):
        if first < stop and last > start:
            del content[max(first - start, 0) : last - start]
    return bytes(content)


def canary_summary(corpus: Corpus) -> dict[str, Any]:
    """The canaries in a corpus for data.json, as JSON values; empty without any."""
    ranges = planted_ranges(corpus)
    if not len(ranges):
        return {}
    num_bytes = int((ranges["stop"] - ranges["start"]).sum())
    counts = {"num": len(np.unique(ranges["canary"])), "num_places": len(ranges), "num_bytes": num_bytes}
    return {"canaries": counts}


def _build(folder: Path, train: Split, count: int, seed: int) -> None:
    canaries = made_canaries(count, seed)
    _require_little(canaries, train)
    lines = _lines(canaries, train, seed)
    corpus = train.corpus
    require_room(folder, corpus.num_bytes, "the text with its canaries")
    ranges = _write_text(folder / TEXT_FILE, train, lines)
    ranges.tofile(folder / PLANTED_FILE)
    for start, stop, document, canary in ranges.tolist():
        file = str(corpus.source(document)[0])
        canaries[canary].places.append(Place(file=file, document=document, start=start, stop=stop))
    (folder / CANARIES).write_text(as_lines(canaries), encoding="utf-8")
    table = np.array(corpus.table)  # a document keeps the SHA-256 of what it was: by that a person names it
    table["end"] += _bytes_added(ranges, len(corpus)).cumsum().astype(np.uint64)
    table.tofile(folder / TABLE_FILE)
    names = (TEXT_FILE, TABLE_FILE, PLANTED_FILE, CANARIES)
    write_json(
        folder / MANIFEST,
        {
            **read_json(corpus.folder / MANIFEST, with_names=True),
            "sizes": {name: (folder / name).stat().st_size for name in names},
            "sha256": {name: sha256_of(folder / name) for name in names},
        },
    )


def _require_little(canaries: Sequence[Canary], train: Split) -> None:
    """
    Raises:
        DataError: the canaries would be too large a part of the text.
    """
    num_bytes = sum(canary.copies * len(canary.planted.text.encode()) for canary in canaries)
    allowed = LARGEST_SHARE * train.num_bytes
    if num_bytes > allowed:
        fitting = int(allowed / num_bytes * len(canaries))
        raise DataError(
            f"{len(canaries):,} canaries are {readable_bytes(num_bytes)} of made-up sentences in a training text of "
            f"{readable_bytes(train.num_bytes)}: at most about {fitting:,} make it no other text: plant fewer, or name "
            "more sources"
        )


def _lines(canaries: Sequence[Canary], train: Split, seed: int) -> list[_Line]:
    """The lines of all canaries, in the order of the text."""
    generator = np.random.Generator(np.random.PCG64(derived_seed(seed, "canaries", "places")))
    alone = iter(_in_turn(len(train), generator))
    found = []
    with train.corpus.open() as file:
        for canary in canaries:
            several = iter(_in_turn(len(train), generator)) if canary.copies > 1 else alone
            for _ in range(canary.copies):
                number = next(several)
                start, stop = int(train.starts[number]), int(train.stops[number])
                at, is_line = _line_start(file, start + int(generator.integers(stop - start)), stop)
                content = ("" if is_line else "\n") + canary.planted.text + "\n"
                found.append(_Line(number, at, canary.number, content.encode()))
    return sorted(found)


def _in_turn(count: int, generator: np.random.Generator) -> Iterable[int]:
    """All numbers below `count` in a random order, without end."""
    while True:
        yield from generator.permutation(count).tolist()


def _line_start(file: BinaryIO, drawn: int, stop: int) -> tuple[int, bool]:
    """Where a line, or else a word, begins behind the byte that is drawn, and whether it is a line; the end of the
    document if none does."""
    file.seek(drawn)
    window = file.read(min(NEAR_BYTES, stop - drawn))
    for separator in (b"\n", b" "):
        if (found := window.find(separator)) >= 0:
            return drawn + found + 1, separator == b"\n"
    return stop, False


def _write_text(path: Path, train: Split, lines: Sequence[_Line]) -> np.ndarray:
    """Writes the text with the lines in it. Returns where they are, as `PLANTED` describes it."""
    ranges = np.empty(len(lines), PLANTED)
    with train.corpus.open() as source, path.open("wb") as file:
        for row, line in enumerate(lines):
            _copy(source, file, line.at - source.tell())
            start = file.tell()
            file.write(line.content)
            ranges[row] = start, file.tell(), train.documents[line.number], line.canary
        shutil.copyfileobj(source, file, COPY_BYTES)
    return ranges


def _copy(source: BinaryIO, file: BinaryIO, num_bytes: int) -> None:
    while num_bytes:
        block = source.read(min(num_bytes, COPY_BYTES))
        file.write(block)
        num_bytes -= len(block)


def _bytes_added(ranges: np.ndarray, num_documents: int) -> np.ndarray:
    """The bytes that were added to each document of the corpus (D,)."""
    added = np.zeros(num_documents, np.int64)
    np.add.at(added, ranges["document"].astype(np.int64), (ranges["stop"] - ranges["start"]).astype(np.int64))
    return added
