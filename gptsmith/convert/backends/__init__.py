"""Programs that read a model: the two sides of a certificate are compared through them.

Contract: a backend gives the ids of a text, a formatted conversation, and the logits after ids.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class Rendered:
    """A conversation as a program lays it out: the text, and its ids."""

    text: str
    ids: list[int]


class Backend(ABC):
    """A model as some program reads it.

    Attributes:
        name: the program and its version.
        files: the files that it read.
        context_length: the most tokens that it reads at once.
        special_tokens: the spellings of its special tokens.
        chooses_experts: whether it is known to choose among experts for each token.
    """

    name: str
    files: Sequence[Path]
    context_length: int
    special_tokens: Sequence[str]
    chooses_experts: bool = False

    @abstractmethod
    def token_ids(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are text, without what stands before every text."""

    @abstractmethod
    def bos_ids(self) -> list[int]:
        """The ids before every text."""

    @abstractmethod
    def conversation(self, messages: Sequence[Mapping[str, str]], *, open_turn: bool) -> Rendered | str:
        """A formatted conversation; if it cannot be formatted, the reason, beginning with `refused` if the template
        refuses it."""

    @abstractmethod
    def logits(self, ids: Sequence[int]) -> Tensor:
        """Logits (T, V), float32, after each of the ids."""

    def greedy(self, ids: Sequence[int], num_tokens: int) -> list[int]:
        """The most likely tokens that follow, special ones too."""
        written = list(ids)
        for _ in range(num_tokens):
            written.append(int(self.logits(written)[-1].argmax()))
        return written[len(ids) :]
