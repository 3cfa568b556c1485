"""What a training is to read, as far as it is known before it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptsmith.base.command_words import fields_of
from gptsmith.base.errors import UserError
from gptsmith.data.cache import key_of
from gptsmith.data.discover import Candidate, discover
from gptsmith.data.examples import read_shape, records
from gptsmith.data.shapes import TEXT
from gptsmith.serve.load import stamps_of
from gptsmith.serve.studio.train.estimate import Amount
from gptsmith.train.request import FinetuneRequest

MAX_COUNTED_BYTES = 20_000_000
"""Records of more files than these are counted in the first of them only."""
READ_PATHS = ("without", "redact_passages")


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data of a training.

    Attributes:
        words: those that give it on a command line.
        amount: how much it is.
        shape: the shape of its examples; `text` if it is running text.
        fingerprint: the same for the same files, by their names, sizes and times of change.
    """

    words: Sequence[str]
    amount: Amount
    shape: str
    fingerprint: str

    @property
    def are_examples(self) -> bool:
        """Whether it is no running text."""
        return self.shape != TEXT


class KnownData:
    """What was found of the data of trainings, kept as long as its files stay as they are."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: that relative paths are in.
        """
        self._folder = folder
        self._known: dict[str, tuple[Amount, str]] = {}

    def of(self, words: Sequence[str]) -> DataFacts:
        """What is known of the data that some words of a command line give. It reads files.

        Raises:
            UserError: nothing of it can be read.
        """
        fields = fields_of(words, FinetuneRequest, "sources")
        sources = [self._folder / source for source in fields.get("sources", ())]
        candidates = discover(sources).candidates
        lists = [self._folder / path for name in READ_PATHS for path in fields.get(name, ())]
        files = sorted({*(candidate.file.path for candidate in candidates), *lists})
        fingerprint = key_of(list(words), stamps_of(files))
        if fingerprint not in self._known:
            self._known[fingerprint] = _measured(sources, candidates)
        amount, shape = self._known[fingerprint]
        return DataFacts(words, amount, shape, fingerprint)


def _measured(sources: Sequence[Path], candidates: Sequence[Candidate]) -> tuple[Amount, str]:
    sizes = {candidate.file.path: candidate.file.path.stat().st_size for candidate in candidates}
    num_bytes = sum(sizes.values())
    try:
        shape = read_shape(sources)
    except UserError:  # the plan says what is wrong with the records
        shape = TEXT
    if shape == TEXT:
        return Amount(num_bytes), shape
    counted = list(_counted(sizes))
    num_records = sum(1 for _ in records(counted))
    share = sum(sizes[path] for path in counted) / max(num_bytes, 1)
    return Amount(num_bytes, round(num_records / share) if share else 0), shape


def _counted(sizes: dict[Path, int]) -> Iterator[Path]:
    """The first files, until there are enough bytes."""
    left = MAX_COUNTED_BYTES
    for path, size in sizes.items():
        if left > 0:
            yield path
        left -= size
