"""Cleaning of texts before anything learns from them: whole documents are left out, and findings in the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.data.care.left_out import LeftOutDocuments
from gptsmith.data.care.redaction import Redaction


@dataclass(frozen=True)
class Cleaning:
    """Documents and findings to take out of the texts of some files as they are read.

    Attributes:
        left_out: the documents that are not read.
        redaction: what is replaced by placeholders in the others.
    """

    left_out: LeftOutDocuments = field(default_factory=LeftOutDocuments)
    redaction: Redaction = field(default_factory=Redaction)

    @classmethod
    def of(cls, kinds: Iterable[str], without: Iterable[str | Path], passages: Iterable[str | Path]) -> Cleaning:
        """
        Args:
            kinds: the kinds of findings that are replaced.
            without: lists of documents to leave out, as an audit writes them.
            passages: lists of passages to replace, in the same form.

        Raises:
            DataError: a list cannot be read, or is none.
        """
        return cls(LeftOutDocuments.read(without), Redaction.of(kinds, passages))

    def key(self) -> list[Any]:
        """The choices that decide the texts that come of it, as JSON values."""
        return [self.left_out.key(), self.redaction.key()]

    def require_found(self) -> None:
        """Checks that what a person listed was there.

        Raises:
            DataError: it was not.
        """
        self.left_out.require_found()
        for finder in self.redaction.finders:
            if finder.is_listed and not self.redaction.counts[finder.kind]:
                raise DataError(f"none of the {finder.noun} stands in these texts: write them as they stand there")
