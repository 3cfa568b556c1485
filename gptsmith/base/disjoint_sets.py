"""Disjoint sets of numbers, which are joined pair by pair (Galler and Fischer 1964)."""

from __future__ import annotations

import numpy as np


class DisjointSets:
    """Sets of the numbers from 0 to N, each alone in its own at first. A set goes by its smallest number."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count)

    def join(self, one: int, other: int) -> None:
        """Makes one set of those of two numbers."""
        first, second = self.first(one), self.first(other)
        self._parents[max(first, second)] = min(first, second)

    def first(self, number: int) -> int:
        """The smallest number of a number's set."""
        path = []
        while (parent := int(self._parents[number])) != number:
            path.append(number)
            number = parent
        self._parents[path] = number
        return number

    def firsts(self, numbers: np.ndarray | None = None) -> np.ndarray:
        """The smallest number of the set of each of some numbers, of all by default."""
        roots: np.ndarray = self._parents[slice(None) if numbers is None else numbers].copy()
        while len(open_rows := np.flatnonzero(self._parents[roots] != roots)):
            roots[open_rows] = self._parents[roots[open_rows]]
        return roots
