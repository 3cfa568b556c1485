"""Near duplicates: documents most of whose shingles are the same, found by MinHash (Broder 1997).

A document's digest is the smallest of its shingles under each of some random orders; two documents agree at each with
the probability of their Jaccard similarity, the share of all their shingles that both have. Documents whose digests
agree in a whole band are candidates (Leskovec, Rajaraman and Ullman 2014, section 3.4), and the similarity of each
candidate is computed from its text before it counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rensa import RMinHash

from gptsmith.base.cache_folder import private_folder
from gptsmith.base.console import meter as console_meter
from gptsmith.base.disjoint_sets import DisjointSets
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, require_room, write_json
from gptsmith.base.hashing import GOLDEN_RATIO
from gptsmith.data.cache import MANIFEST, built_once, key_of
from gptsmith.data.cache_contents import few_names
from gptsmith.data.care.minhash import (
    BAND_SIZE,
    DIGEST_SIZE,
    NO_SHINGLES,
    NOTHING,
    NUM_BANDS,
    NUM_WORDS,
    corpus_digests,
)
from gptsmith.data.care.shingles import blocks, common_shingles, is_among, shingles, without
from gptsmith.data.corpus import Corpus, MeterFactory

FORMAT_VERSION = 1
FOLDER = "near_duplicates"
"""In the cache."""
GROUPS_FILE, DIGESTS_FILE = "groups.bin", "digests.bin"

SIMILARITY = 0.7
"""The Jaccard similarity of shingles from which on two documents are near duplicates."""
LEAST_AGREEMENT = 0.55
"""Of the digests of a pair whose text is worth comparing: four of a thousand pairs of 0.7 have less."""


COMPARED_AT_ONCE = 1 << 14
"""Pairs of digests."""
SAMPLE_SHINGLES = 100_000
"""Of longer documents, only shingles with the smallest hashes are compared."""
LOADED_PAIRS, SHORT_BYTES = 256, 1 << 12
"""Documents of so many pairs are made ready at once, but for long ones."""
KEPT_SHINGLES = 4_000_000
"""Of documents that were compared last, in memory."""
LARGEST_SHARE = 0.1
"""Of documents that are made by a template, those that have the same shingle before it counts as the template's."""
LEAST_DOCUMENTS = 20
"""Fewer have no template."""
SAMPLE_DOCUMENTS, SAMPLE_BYTES, DOCUMENT_BYTES = 2_000, 1 << 22, 1 << 16
"""That tell what belongs to a template: as many documents as have so many bytes, and of each its first bytes."""


@dataclass(frozen=True)
class NearDuplicates:
    """The near duplicates among the documents of some corpora, which are numbered one corpus after the other.

    Attributes:
        group_of: (N,), the first document of the group of each document; a document alone is its own.
    """

    corpora: Sequence[Corpus]
    group_of: np.ndarray

    def groups(self) -> list[np.ndarray]:
        """The documents of each group of two and more, in order."""
        return groups_of(self.group_of)

    @property
    def note(self) -> str | None:
        """A line for a person, where there are some."""
        num_documents = sum(map(len, groups := self.groups()))
        return f"documents that are nearly the same stay in one split: {num_documents:,}" if groups else None


def groups_of(group_of: np.ndarray) -> list[np.ndarray]:
    """The documents of each group of two and more, in order, by the group of each document (N,)."""
    order = np.argsort(group_of, kind="stable")
    _, starts, counts = np.unique(group_of[order], return_index=True, return_counts=True)
    return [order[start : start + count] for start, count in zip(starts, counts, strict=True) if count > 1]


def near_duplicates(
    corpora: Sequence[Corpus],
    cache: Path,
    meter: MeterFactory = console_meter,
    *,
    unit_size: int = 1,
    has_template: bool = False,
) -> NearDuplicates:
    """The groups of near duplicates: two documents are in the same if they are similar, or if there is a chain of
    similar documents between them. The same for the same texts, in whatever order they stand.

    Args:
        unit_size: so many documents in a row belong together, such as the texts of an example, and are in one group.
        has_template: whether what more than a tenth of the documents have may be a template, such as the instructions
            in a prompt, which does not make them similar.

    Raises:
        UserError: the disk is full.
    """
    of_examples = [unit_size, LARGEST_SHARE, SAMPLE_DOCUMENTS, SAMPLE_BYTES] if has_template else []
    target = private_folder(cache / FOLDER) / key_of(
        FORMAT_VERSION, RMinHash.ALGORITHM_VERSION, SIMILARITY, [corpus.fingerprint for corpus in corpora], *of_examples
    )
    with built_once(target, _is_whole) as working:
        if working is not None:
            _Search(corpora, working, unit_size, has_template=has_template).run(meter)
    return NearDuplicates(corpora, _groups(target))


def _groups(folder: Path) -> np.ndarray:
    return np.fromfile(folder / GROUPS_FILE, "<i8")


def _is_whole(folder: Path) -> bool:
    """Whether groups are as their manifest says."""
    try:
        return bool((folder / GROUPS_FILE).stat().st_size == 8 * read_json(folder / MANIFEST)["num_documents"])
    except (UserError, OSError, KeyError, TypeError):
        return False


class Documents:
    """The documents of some corpora, numbered one corpus after the other. The shingles of those that were compared last
    are kept."""

    def __init__(self, corpora: Sequence[Corpus], ignored: np.ndarray = NO_SHINGLES) -> None:
        """
        Args:
            ignored: shingles that do not count, in order.
        """
        self.corpora, self.ignored = corpora, ignored
        self._tables = [corpus.table for corpus in corpora]
        self._bounds = [corpus.bounds() for corpus in corpora]
        self._begins = np.cumsum([0, *(len(corpus) for corpus in corpora)])
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._num_kept = 0

    def __len__(self) -> int:
        return int(self._begins[-1])

    def at(self, number: int) -> tuple[Corpus, int]:
        """The corpus of a document, and its number there."""
        part = self._part(number)
        return self.corpora[part], number - int(self._begins[part])

    def source(self, number: int) -> tuple[str, int, int]:
        """The file that a document was read from, and its bytes in it."""
        (corpus, _), row = self.at(number), self._row(number)
        return corpus.files[int(row["file"])].path, int(row["start"]), int(row["stop"])

    def sha256(self, number: int) -> str:
        """That of a document's text."""
        return bytes(self._row(number)["sha256"]).hex()

    def similarity(self, one: int, other: int) -> float:
        """The Jaccard similarity of two documents' shingles; of long documents, of a sample of them."""
        shorter, longer = sorted((self._shingles(one), self._shingles(other)), key=len)
        if len(longer) > SAMPLE_SHINGLES:
            limit = longer[SAMPLE_SHINGLES]
            shorter, longer = shorter[: np.searchsorted(shorter, limit)], longer[:SAMPLE_SHINGLES]
        num_shared = len(np.intersect1d(shorter, longer, assume_unique=True))
        return num_shared / max(1, len(shorter) + len(longer) - num_shared)

    def read(self, number: int, start: int = 0, stop: int | None = None) -> bytes:
        """A document, or some of its bytes."""
        begin, end = self._bytes(number)
        return self.at(number)[0].read(begin + start, end if stop is None else min(end, begin + stop))

    def _row(self, number: int) -> np.void:
        part = self._part(number)
        row: np.void = self._tables[part][number - self._begins[part]]
        return row

    def _part(self, number: int) -> int:
        return int(np.searchsorted(self._begins, number, side="right")) - 1

    def _bytes(self, number: int) -> tuple[int, int]:
        """Where a document stands in its corpus."""
        part = self._part(number)
        starts, stops = self._bounds[part]
        return int(starts[number - self._begins[part]]), int(stops[number - self._begins[part]])

    def load(self, numbers: Iterable[int]) -> None:
        """Makes ready the shingles of short documents, many at once."""
        parts: dict[int, list[int]] = {}
        for number in sorted(set(numbers) - self._kept.keys()):
            start, stop = self._bytes(number)
            if stop - start <= SHORT_BYTES:
                parts.setdefault(self._part(number), []).append(number)
        for part, some in parts.items():
            with self.corpora[part].open() as file:
                texts = []
                for number in some:
                    start, stop = self._bytes(number)
                    file.seek(start)
                    texts.append(file.read(stop - start))
            stops = np.cumsum([len(text) for text in texts])
            hashes, offsets = shingles(b"".join(texts), np.concatenate([[0], stops[:-1]]), stops, NUM_WORDS)
            hashes, offsets = without(hashes, offsets, self.ignored)
            for number, first, last in zip(some, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                self._keep(number, np.unique(hashes[first:last]))

    def _shingles(self, number: int) -> np.ndarray:
        """The different shingles of a document in order; of many, the first, which are a sample of them."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        (begin, end), (corpus, _) = self._bytes(number), self.at(number)
        found = NO_SHINGLES
        for starts, stops, _ in blocks(np.array([begin]), np.array([end])):
            hashes, _ = shingles(corpus.read(starts[0], stops[-1]), starts - starts[0], stops - starts[0], NUM_WORDS)
            found = np.union1d(found, hashes)[: SAMPLE_SHINGLES + 1]
        self._keep(number, found[~is_among(found, self.ignored)])
        return self._kept[number]

    def _keep(self, number: int, found: np.ndarray) -> None:
        self._kept[number] = found
        self._num_kept += len(found)
        while self._num_kept > KEPT_SHINGLES and len(self._kept) > 2:
            self._num_kept -= len(self._kept.popitem(last=False)[1])


class _Search:
    """Finds the groups of near duplicates. The digests lie in a file: memory holds some numbers of each document."""

    def __init__(self, corpora: Sequence[Corpus], folder: Path, unit_size: int, *, has_template: bool) -> None:
        self.corpora, self.folder = corpora, folder
        hashes = [
            np.ascontiguousarray(corpus.table["sha256"]).view("<u8").reshape(-1, 4)[:, 0] for corpus in self.corpora
        ]
        self.hashes = np.concatenate(hashes)
        self.documents = Documents(corpora)
        if has_template:
            self.documents = Documents(corpora, self._template())
        self.num_documents = len(self.documents)
        self.groups = DisjointSets(self.num_documents)
        for number in range(self.num_documents) if unit_size > 1 else ():
            self.groups.join(number, number - number % unit_size)

    def _template(self) -> np.ndarray:
        """The shingles that a template would give to documents, in order."""
        _, firsts = np.unique(self.hashes, return_index=True)
        sample, num_bytes = list[bytes](), 0
        for number in firsts[:SAMPLE_DOCUMENTS].tolist():
            sample.append(self.documents.read(number, 0, DOCUMENT_BYTES))
            num_bytes += len(sample[-1])
            if num_bytes >= SAMPLE_BYTES:
                break
        return common_shingles(sample, NUM_WORDS, max(LEAST_DOCUMENTS, LARGEST_SHARE * len(sample)))

    def run(self, meter: MeterFactory) -> None:
        """Writes the groups into the folder."""
        path = self.folder / DIGESTS_FILE
        require_room(self.folder, 4 * DIGEST_SIZE * self.num_documents, "the digests of the documents")
        digests = np.memmap(path, "<u4", "w+", shape=(self.num_documents, DIGEST_SIZE))
        begin, num_bytes = 0, sum(corpus.num_bytes for corpus in self.corpora)
        with meter("comparing documents", num_bytes, count=False) as bar:
            done = 0
            for corpus in self.corpora:
                number = begin
                for found, num_read in corpus_digests(corpus, self.documents.ignored):
                    digests[number : number + len(found)] = found
                    number, done = number + len(found), done + num_read
                    bar.update(done)
                begin += len(corpus)
        self._unite(digests)
        del digests
        path.unlink()
        self.groups.firsts().astype("<i8").tofile(self.folder / GROUPS_FILE)
        write_json(
            self.folder / MANIFEST,
            {
                "format_version": FORMAT_VERSION,
                "num_documents": self.num_documents,
                "made_from": few_names(file.path for corpus in self.corpora for file in corpus.files),
            },
        )

    def _unite(self, digests: np.ndarray) -> None:
        """Puts similar documents into the same group.

        Documents are taken by their hashes, so that their order in the corpus decides nothing.
        """
        order = np.argsort(self.hashes, kind="stable")
        is_same = np.flatnonzero(self.hashes[order[1:]] == self.hashes[order[:-1]])
        for one, other in zip(order[is_same].tolist(), order[is_same + 1].tolist(), strict=True):
            self.groups.join(one, other)
        dissimilar: set[tuple[int, int]] = set()
        for band in range(NUM_BANDS):
            part = np.ascontiguousarray(digests[:, BAND_SIZE * band : BAND_SIZE * (band + 1)])
            for one, other in _candidates(part, order):
                apart = self.groups.firsts(one) != self.groups.firsts(other)
                one, other = one[apart], other[apart]
                likely = (digests[one] == digests[other]).mean(1) >= LEAST_AGREEMENT
                pairs = zip(one[likely].tolist(), other[likely].tolist(), strict=True)
                self._compare([pair for pair in pairs if pair not in dissimilar], dissimilar)

    def _compare(self, pairs: Sequence[tuple[int, int]], dissimilar: set[tuple[int, int]]) -> None:
        """Puts the documents of pairs into the same group that are similar; the other pairs go to `dissimilar`."""
        for start in range(0, len(pairs), LOADED_PAIRS):
            some = pairs[start : start + LOADED_PAIRS]
            self.documents.load({number for pair in some for number in pair})
            for pair in some:
                if self.groups.first(pair[0]) == self.groups.first(pair[1]):
                    continue
                if self.documents.similarity(*pair) >= SIMILARITY:
                    self.groups.join(*pair)
                else:
                    dissimilar.add(pair)


def _candidates(digests: np.ndarray, order: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of documents that agree in a band of their digests (N, band): each with the one before it in some order
    (N), and with the first of all that agree with it, which is enough to join all that are similar."""
    halves = digests.view("<u8")
    keys = (halves[:, 0] * np.uint64(GOLDEN_RATIO) + halves[:, 1])[order]
    order, keys = (values[(digests != NOTHING).any(1)[order]] for values in (order, keys))
    by_key = np.argsort(keys, kind="stable")
    order, keys = order[by_key], keys[by_key]
    is_same = np.concatenate([[False], keys[1:] == keys[:-1]])
    firsts = np.maximum.accumulate(np.where(is_same, 0, np.arange(len(keys))))
    rows = np.flatnonzero(is_same)
    for start in range(0, len(rows), COMPARED_AT_ONCE):
        some = rows[start : start + COMPARED_AT_ONCE]
        yield order[some - 1], order[some]
        further = some[firsts[some] < some - 1]
        yield order[firsts[further]], order[further]
