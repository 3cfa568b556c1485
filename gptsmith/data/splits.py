"""The training and the validation split of a corpus, as ranges of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from gptsmith.base.errors import DataError
from gptsmith.base.files import readable_bytes
from gptsmith.base.notices import Notice
from gptsmith.data.care.near_duplicates import groups_of
from gptsmith.data.corpus import Corpus
from gptsmith.data.deduplication import not_among
from gptsmith.data.settings import DataSettings
from gptsmith.text.chunk_boundaries import safe_cut

MIN_TRAINING_BYTES = 1_000
MIN_VALIDATION_BYTES = 100
MIN_DOCUMENTS = 20
"""With fewer documents, the choice of those that validate would be a matter of luck."""

CHUNK_BYTES = 4_000_000
LARGEST_CHUNK = 8
"""In chunks: text without any safe cut, such as endless digits, is cut there all the same to bound the memory."""

WAYS_OUT = "--set data.validation_fraction=0 trains without validation, --validation PATH names validation files"


class SplitChunk(NamedTuple):
    """Some text of a split, and where it stands."""

    text: str
    number: int
    """Which of the split's documents."""

    stop: int
    """The byte of `documents.bin` after its last."""

    num_bytes: int
    last: bool
    """Whether the document ends with it."""


@dataclass(frozen=True)
class Split:
    """Some documents of a corpus, whole or in part."""

    corpus: Corpus
    documents: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def __len__(self) -> int:
        return len(self.documents)

    @property
    def num_bytes(self) -> int:
        return int((self.stops - self.starts).sum())

    @property
    def fingerprint(self) -> str:
        """The same for the same bytes of the same documents."""
        digest = hashlib.sha256(self.corpus.fingerprint.encode())
        for column in (self.documents, self.starts, self.stops):
            digest.update(column.astype("<i8").tobytes())
        return digest.hexdigest()

    def chunks(self, number: int = 0, start: int | None = None) -> Iterator[SplitChunk]:
        """The text from byte `start` of the split's document `number` on, in chunks of at most 4 MB.

        A document is cut only where its tokens end in any case, so encoding can resume wherever a chunk starts.
        """
        with self.corpus.open() as file:
            for current in range(number, len(self)):
                at, stop = int(self.starts[current]), int(self.stops[current])
                if current == number and start is not None:
                    at = start
                while at < stop:
                    text = _chunk(file, at, stop)
                    num_bytes = len(text.encode())
                    at += num_bytes
                    yield SplitChunk(text, current, at, num_bytes, at == stop)


def _chunk(file: BinaryIO, at: int, stop: int) -> str:
    """The text from byte `at` to `stop` if that is near, else to a safe cut."""
    size = CHUNK_BYTES
    while at + size < stop:
        file.seek(at)
        text = file.read(size).decode("utf-8", "ignore")  # drops the character that the last byte is inside
        cut = safe_cut(text, len(text))
        if cut or size >= LARGEST_CHUNK * CHUNK_BYTES:
            return text[:cut]
        size *= 2
    file.seek(at)
    return file.read(stop - at).decode("utf-8")


@dataclass(frozen=True)
class Splits:
    """The training split and the validation split; None for no validation."""

    train: Split
    validation: Split | None
    by: Literal["document", "position", "files", "none"]
    num_duplicates: int = 0
    """Validation documents skipped because the training split has them too."""


def split_corpus(
    corpus: Corpus,
    settings: DataSettings,
    seed: int,
    validation: Corpus | None = None,
    group_of: np.ndarray | None = None,
) -> Splits:
    """The splits that the settings ask for.

    Whole documents validate, chosen by a hash of the seed and their text. A corpus of few or very uneven documents
    is split inside every document instead: the end of each validates.

    Args:
        group_of: (N,), the first document of the group of each document. No group is in both splits, unless hardly any
            document were left to validate on; by default each document is its own group.

    Raises:
        DataError: a split is too small to be of use.
    """
    starts, stops = corpus.bounds()
    everything = np.arange(len(corpus))
    group_of = everything if group_of is None else group_of
    whole = Split(corpus, everything, starts, stops)
    if validation is not None:
        splits = _by_files(whole, validation)
    elif settings.validation_fraction == 0:
        splits = Splits(whole, None, "none")
    else:
        target = min(settings.validation_fraction * corpus.num_bytes, settings.validation_max_bytes)
        chosen = _chosen_documents(corpus, stops - starts, target, seed, group_of)
        if chosen is not None:
            train, validating = everything[~chosen], everything[chosen]
            splits = Splits(
                Split(corpus, train, starts[train], stops[train]),
                Split(corpus, validating, starts[validating], stops[validating]),
                "document",
            )
        else:
            fraction = min(settings.validation_fraction, settings.validation_max_bytes / corpus.num_bytes)
            splits = _by_position(whole, fraction, group_of)
    _require_enough(splits, corpus.num_bytes, settings)
    return splits


def _chosen_documents(
    corpus: Corpus, sizes: np.ndarray, target: float, seed: int, group_of: np.ndarray
) -> np.ndarray | None:
    """The documents that validate, as a mask, in whole groups; None if these cannot come near the target."""
    if len(corpus) < MIN_DOCUMENTS:
        return None
    hashes = corpus.table["sha256"]
    prefix = hashlib.sha256(f"{seed}/validation/".encode())
    ranks = np.empty(len(corpus), "<u8")
    for number, sha256 in enumerate(hashes):
        digest = prefix.copy()
        digest.update(sha256.tobytes())
        ranks[number] = int.from_bytes(digest.digest()[:8], "little")
    # A group has the rank of one of its documents: by the least rank, large groups would come first.
    for members in groups_of(group_of):
        ranks[members] = ranks[min(members, key=lambda number: hashes[number].tobytes())]
    group_sizes = np.bincount(group_of, sizes, len(corpus))[group_of]
    is_too_large = (group_sizes > target / 2) & (group_sizes > sizes)
    order = np.lexsort((group_of, ranks, is_too_large))
    is_last = np.append(np.diff(group_of[order]) != 0, True)
    taken = np.where(is_last, np.cumsum(sizes[order]), np.inf)
    count = int(np.abs(taken - target).argmin()) + 1
    if count == len(corpus) or abs(taken[count - 1] - target) > target / 2:
        return None
    chosen = np.zeros(len(corpus), bool)
    chosen[order[:count]] = True
    return chosen


def _by_position(whole: Split, fraction: float, group_of: np.ndarray) -> Splits:
    """The last fraction of every document's bytes validates; of documents in groups nothing, unless hardly any others
    are there."""
    sizes = whole.stops - whole.starts
    is_alone = np.bincount(group_of, minlength=len(sizes))[group_of] == 1
    if fraction * sizes[is_alone].sum() < MIN_VALIDATION_BYTES:
        is_alone[:] = True
    # They validate as much as all documents would, up to half of each.
    fraction = max(fraction, min(0.5, fraction * (sizes.sum() / sizes[is_alone].sum())))
    cuts = whole.starts + np.where(is_alone, (1 - fraction) * sizes, sizes).astype(np.int64)
    with whole.corpus.open() as file:
        for number, cut in enumerate(cuts):
            # A byte 10xxxxxx is inside a character.
            file.seek(int(cut))
            inside = [byte & 0xC0 == 0x80 for byte in file.read(4)] + [False]
            cuts[number] = cut + inside.index(False)
    cuts = np.minimum(cuts, whole.stops)
    return Splits(
        _without_empty(Split(whole.corpus, whole.documents, whole.starts, cuts)),
        _without_empty(Split(whole.corpus, whole.documents, cuts, whole.stops)),
        "position",
    )


def _without_empty(split: Split) -> Split:
    keep = split.stops > split.starts
    return Split(split.corpus, split.documents[keep], split.starts[keep], split.stops[keep])


def _by_files(train: Split, validation: Corpus) -> Splits:
    """All sources train; the documents of the validation files validate, except those that also train."""
    keep = not_among(validation.table["sha256"], train.corpus.table["sha256"])
    starts, stops = validation.bounds()
    documents = np.flatnonzero(keep)
    split = Split(validation, documents, starts[documents], stops[documents])
    return Splits(train, split, "files", int((~keep).sum()))


def _require_enough(splits: Splits, num_bytes: int, settings: DataSettings) -> None:
    if splits.train.num_bytes < MIN_TRAINING_BYTES:
        raise DataError(
            Notice(
                f"{readable_bytes(num_bytes)} of text leave {readable_bytes(splits.train.num_bytes)} to work on; at "
                f"least {readable_bytes(MIN_TRAINING_BYTES)} are needed: name more sources"
                + (f"; {WAYS_OUT}" if splits.validation is not None and splits.by != "files" else ""),
                "little_text",
                size_bytes=num_bytes,
            )
        )
    if splits.validation is None or splits.validation.num_bytes >= MIN_VALIDATION_BYTES:
        return
    held_back = f"{readable_bytes(splits.validation.num_bytes)} to validate on"
    needed = f"at least {readable_bytes(MIN_VALIDATION_BYTES)} are needed"
    if splits.by == "files":
        dropped = (
            f" (documents skipped because the training split has them: {splits.num_duplicates:,})"
            if splits.num_duplicates
            else ""
        )
        raise DataError(f"the validation files have {held_back}{dropped}; {needed}: name files with more new text")
    enough = readable_bytes(MIN_VALIDATION_BYTES / settings.validation_fraction)
    raise DataError(
        Notice(
            f"{readable_bytes(num_bytes)} of text with data.validation_fraction={settings.validation_fraction:g} leave "
            f"{held_back}; {needed}, so about {enough} of text: name more sources; {WAYS_OUT}",
            "little_text",
            size_bytes=num_bytes,
        )
    )
