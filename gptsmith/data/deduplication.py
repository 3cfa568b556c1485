"""Exact deduplication: documents whose text is the same, byte for byte, by its SHA-256."""

from __future__ import annotations

import numpy as np


class ExactDeduplication:
    """The hashes of the documents that are kept. Those of an unfinished file can be taken back."""

    def __init__(self) -> None:
        self._kept: set[bytes] = set()
        self._pending: set[bytes] = set()

    def keep(self, sha256: bytes) -> bool:
        """Whether a document is the first with its text; then it is kept."""
        if sha256 in self._kept or sha256 in self._pending:
            return False
        self._pending.add(sha256)
        return True

    def commit(self) -> None:
        """Make all documents since the last commit final."""
        self._kept |= self._pending
        self._pending.clear()

    def roll_back(self) -> None:
        """Forget all documents since the last commit."""
        self._pending.clear()


def not_among(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which hashes (N) are not among others (M), as a mask (N)."""
    known = {sha256.tobytes() for sha256 in others}
    return np.array([sha256.tobytes() not in known for sha256 in hashes], bool)
