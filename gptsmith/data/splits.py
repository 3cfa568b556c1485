"""What of a corpus trains and what validates, as ranges of its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.data.corpus import Corpus
from gptsmith.data.settings import DataSettings
from gptsmith.text.chunk_boundaries import safe_cut

MIN_TRAINING_BYTES = 1_000
MIN_VALIDATION_BYTES = 100
MIN_DOCUMENTS = 20
"""With fewer documents, which of them validate would be a matter of luck."""

PIECE_BYTES = 4_000_000
LARGEST_PIECE = 8
"""In pieces: text without any safe cut, such as endless digits, is cut there all the same to bound the memory."""

WAYS_OUT = "--set data.validation_share=0 trains without validation, --validation PATH names validation files"


class Piece(NamedTuple):
    """Some text of a part, and where it stands."""

    text: str
    number: int
    """Which of the part's documents."""

    stop: int
    """The byte of `documents.bin` after its last."""

    num_bytes: int
    last: bool
    """Whether the document ends with it."""


@dataclass(frozen=True)
class Part:
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

    def pieces(self, number: int = 0, start: int | None = None) -> Iterator[Piece]:
        """The text from byte `start` of the part's document `number` on, in pieces of at most 4 MB.

        A document is cut only where its tokens end in any case, so where a piece starts is a place to go on from.
        """
        with self.corpus.open() as file:
            for current in range(number, len(self)):
                at, stop = int(self.starts[current]), int(self.stops[current])
                if current == number and start is not None:
                    at = start
                while at < stop:
                    text = _piece(file, at, stop)
                    num_bytes = len(text.encode())
                    at += num_bytes
                    yield Piece(text, current, at, num_bytes, at == stop)


def _piece(file: BinaryIO, at: int, stop: int) -> str:
    """The text from byte `at` to `stop` where that is near, else to a safe cut."""
    size = PIECE_BYTES
    while at + size < stop:
        file.seek(at)
        text = file.read(size).decode("utf-8", "ignore")  # drops the character that the last byte is inside
        cut = safe_cut(text, len(text))
        if cut or size >= LARGEST_PIECE * PIECE_BYTES:
            return text[:cut]
        size *= 2
    file.seek(at)
    return file.read(stop - at).decode("utf-8")


@dataclass(frozen=True)
class Split:
    """A training part and, where there is one, a validation part."""

    train: Part
    validation: Part | None
    by: Literal["document", "position", "files", "none"]
    num_dropped: int = 0
    """Validation documents left out because the training part has them too."""


def split_corpus(corpus: Corpus, settings: DataSettings, seed: int, validation: Corpus | None = None) -> Split:
    """The split that the settings ask for.

    Whole documents validate, chosen by a hash of the seed and their text. A corpus of few or very uneven documents
    is split inside every document instead: the end of each validates.

    Raises:
        UserError: a part is too small to be of use.
    """
    starts, stops = corpus.bounds()
    everything = np.arange(len(corpus))
    whole = Part(corpus, everything, starts, stops)
    if validation is not None:
        split = _by_files(whole, validation)
    elif settings.validation_share == 0:
        split = Split(whole, None, "none")
    else:
        target = min(settings.validation_share * corpus.num_bytes, settings.validation_max_bytes)
        chosen = _chosen_documents(corpus, stops - starts, target, seed)
        if chosen is not None:
            train, validating = everything[~chosen], everything[chosen]
            split = Split(
                Part(corpus, train, starts[train], stops[train]),
                Part(corpus, validating, starts[validating], stops[validating]),
                "document",
            )
        else:
            share = min(settings.validation_share, settings.validation_max_bytes / corpus.num_bytes)
            split = _by_position(whole, share)
    _require_enough(split, corpus.num_bytes, settings)
    return split


def _chosen_documents(corpus: Corpus, sizes: np.ndarray, target: float, seed: int) -> np.ndarray | None:
    """Which documents validate, as a mask; None where whole documents cannot come near the target."""
    if len(corpus) < MIN_DOCUMENTS:
        return None
    prefix = hashlib.sha256(f"{seed}/validation/".encode())
    ranks = np.empty(len(corpus), "<u8")
    for number, sha256 in enumerate(corpus.table["sha256"]):
        digest = prefix.copy()
        digest.update(sha256.tobytes())
        ranks[number] = int.from_bytes(digest.digest()[:8], "little")
    order = np.argsort(ranks, kind="stable")
    taken = np.cumsum(sizes[order])
    count = int(np.abs(taken - target).argmin()) + 1
    if count == len(corpus) or abs(taken[count - 1] - target) > target / 2:
        return None
    chosen = np.zeros(len(corpus), bool)
    chosen[order[:count]] = True
    return chosen


def _by_position(whole: Part, share: float) -> Split:
    """The last share of every document's bytes validates."""
    sizes = whole.stops - whole.starts
    cuts = whole.starts + ((1 - share) * sizes).astype(np.int64)
    with whole.corpus.open() as file:
        for number, cut in enumerate(cuts):
            # A byte 10xxxxxx is inside a character.
            file.seek(int(cut))
            inside = [byte & 0xC0 == 0x80 for byte in file.read(4)] + [False]
            cuts[number] = cut + inside.index(False)
    cuts = np.minimum(cuts, whole.stops)
    return Split(
        _without_empty(Part(whole.corpus, whole.documents, whole.starts, cuts)),
        _without_empty(Part(whole.corpus, whole.documents, cuts, whole.stops)),
        "position",
    )


def _without_empty(part: Part) -> Part:
    keep = part.stops > part.starts
    return Part(part.corpus, part.documents[keep], part.starts[keep], part.stops[keep])


def _by_files(train: Part, validation: Corpus) -> Split:
    """All sources train; the validation files validate, but for documents that train."""
    training = {row.tobytes() for row in train.corpus.table["sha256"]}
    keep = np.array([row.tobytes() not in training for row in validation.table["sha256"]])
    starts, stops = validation.bounds()
    documents = np.flatnonzero(keep)
    part = Part(validation, documents, starts[documents], stops[documents])
    return Split(train, part, "files", int((~keep).sum()))


def _require_enough(split: Split, num_bytes: int, settings: DataSettings) -> None:
    if split.train.num_bytes < MIN_TRAINING_BYTES:
        raise UserError(
            f"{readable_bytes(num_bytes)} of text leave {readable_bytes(split.train.num_bytes)} to train on; at "
            f"least {readable_bytes(MIN_TRAINING_BYTES)} are needed: name more sources"
            + (f"; {WAYS_OUT}" if split.validation is not None and split.by != "files" else "")
        )
    if split.validation is None or split.validation.num_bytes >= MIN_VALIDATION_BYTES:
        return
    held_back = f"{readable_bytes(split.validation.num_bytes)} to validate on"
    needed = f"at least {readable_bytes(MIN_VALIDATION_BYTES)} are needed"
    if split.by == "files":
        dropped = f" (documents left out because they train: {split.num_dropped:,})" if split.num_dropped else ""
        raise UserError(f"the validation files have {held_back}{dropped}; {needed}: name files with more new text")
    enough = readable_bytes(MIN_VALIDATION_BYTES / settings.validation_share)
    raise UserError(
        f"{readable_bytes(num_bytes)} of text with data.validation_share={settings.validation_share:g} leave "
        f"{held_back}; {needed}, so about {enough} of text: name more sources; {WAYS_OUT}"
    )
