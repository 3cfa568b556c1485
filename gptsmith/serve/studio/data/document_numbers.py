"""The numbers of documents by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

DIGEST_BYTES = 32


class DocumentNumbers(Mapping[str, int]):
    """The number of each document by the SHA-256 of its text, as hexadecimal digits. It takes 40 bytes a document, a
    fifth of what a table of strings would: collections have millions, and several are kept."""

    def __init__(self, digests: np.ndarray) -> None:
        """
        Args:
            digests: (N,) of 32 bytes each.
        """
        digests = np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}")
        self._order = np.argsort(digests)
        self._sorted = digests[self._order]

    def __getitem__(self, name: str) -> int:
        try:
            digest = bytes.fromhex(name)
        except ValueError:
            raise KeyError(name) from None
        place = int(np.searchsorted(self._sorted, np.bytes_(digest)))
        if place == len(self._sorted) or self._name(place) != name:
            raise KeyError(name)
        return int(self._order[place])

    def __iter__(self) -> Iterator[str]:
        return map(self._name, range(len(self._sorted)))

    def __len__(self) -> int:
        return len(self._sorted)

    def _name(self, place: int) -> str:
        # NumPy takes zeros off the end of bytes.
        return bytes(self._sorted[place]).ljust(DIGEST_BYTES, b"\0").hex()
