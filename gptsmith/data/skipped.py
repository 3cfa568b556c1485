"""Examples that are skipped: how many, for which reasons, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gptsmith.base.errors import DataError, UserError
from gptsmith.base.notices import placed

PLACES_KEPT = 20
"""Per reason."""
PLACES_SHOWN = 3
REASONS_SHOWN = 8


@dataclass
class Skipped:
    """Examples that were skipped."""

    counts: dict[str, int] = field(default_factory=dict)
    """By reason."""
    places: dict[str, list[str]] = field(default_factory=dict)
    """The first places of each reason, such as `answers.jsonl, line 7`."""

    def __len__(self) -> int:
        return sum(self.counts.values())

    def add(self, place: str, reason: str) -> None:
        """Counts an example. Reasons that differ in nothing but numbers and shown values are the same."""
        reason = re.sub(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*", "…", reason.partition(": {")[0])
        self.counts[reason] = self.counts.get(reason, 0) + 1
        places = self.places.setdefault(reason, [])
        if len(places) < PLACES_KEPT:
            places.append(place)

    def __add__(self, other: Skipped) -> Skipped:
        both = Skipped(dict(self.counts), {reason: list(places) for reason, places in self.places.items()})
        for reason, count in other.counts.items():
            both.counts[reason] = both.counts.get(reason, 0) + count
            both.places[reason] = [*both.places.get(reason, ()), *other.places[reason]][:PLACES_KEPT]
        return both

    def lines(self, heading: str | None = None) -> list[str]:
        """Lines for a person, the commonest reason first; none if nothing was skipped. The usual heading says how many
        were."""
        if not self.counts:
            return []
        lines = [heading or f"{len(self):,} bad {'example is' if len(self) == 1 else 'examples are'} skipped:"]
        ordered = sorted(self.counts.items(), key=lambda item: -item[1])
        for reason, count in ordered[:REASONS_SHOWN]:
            places = "; ".join(self.places[reason][:PLACES_SHOWN])
            lines.append(f"  {count:,}: {reason} ({places}{'; ...' if count > PLACES_SHOWN else ''})")
        if len(ordered) > REASONS_SHOWN:
            lines.append(f"  and {sum(count for _, count in ordered[REASONS_SHOWN:]):,} for other reasons")
        return lines

    def plain(self) -> dict[str, Any]:
        """By reason, the number and the first places, as JSON values."""
        return {reason: {"count": count, "places": self.places[reason]} for reason, count in self.counts.items()}


@dataclass(frozen=True)
class Skipping:
    """What is done with a bad example: it is skipped and counted, or it ends the work."""

    skip_bad: bool
    skipped: Skipped = field(default_factory=Skipped)

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """A block that makes something of the example at a place. If it cannot, the block ends there.

        Raises:
            DataError: the block raised a `UserError`, and bad examples are not to be skipped; the message begins with
                the place.
        """
        try:
            yield
        except UserError as error:
            if not self.skip_bad:
                raise DataError(placed(place, error)) from None
            self.skipped.add(place, str(error))
