"""Files that were not read, or not wholly, in a few lines for a person: grouped by reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

REASONS_SHOWN = 6
NUM_REASONS = 3
"""In an error."""
PLACES = re.compile(r"0x[0-9a-f]+|\d[\d,.]*")

# In order: what one command installs, what an option mends, the rest; last what no reader is for.
INSTALL, OPTION, UNKNOWN = "pip install", "--", "unknown extension"


def skipped_in_words(summary: Mapping[str, Any], listed_in: str = "data.json") -> list[str]:
    """Lines about the files that were skipped and those of which something is not read, what can be mended first.

    `summary` has `skipped` (a reason for each path) and `remarks` (some for each).
    """
    skipped = [(path, reason) for path, reason in summary.get("skipped", {}).items()]
    remarks = [(path, remark) for path, remarks in summary.get("remarks", {}).items() for remark in remarks]
    return [
        *_grouped(skipped, "skipped", listed_in),
        *_grouped(remarks, "not wholly read", listed_in),
    ]


def reasons_in_words(skipped: Mapping[str, str]) -> str:
    """Why files were skipped, each reason once, for an error; empty if none was."""
    groups = _by_reason([*skipped.items()])
    said = []
    for group in groups[:NUM_REASONS]:
        path, reason = group[0]
        said.append(f"{path}{f' and {len(group) - 1:,} more' if len(group) > 1 else ''}: {reason}")
    if left := sum(map(len, groups[NUM_REASONS:])):
        said.append(f"{left:,} more for other reasons")
    return "; ".join(said)


def _by_reason(files: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """Paths and reasons in groups of the same reason but for its numbers, what can be mended first."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, reason in files:
        groups.setdefault(PLACES.sub("#", reason), []).append((path, reason))
    return sorted(groups.values(), key=lambda group: (_rank(group[0][1]), -len(group)))


def _grouped(files: Sequence[tuple[str, str]], verdict: str, listed_in: str) -> list[str]:
    ordered = _by_reason(files)
    lines = []
    for group in ordered[:REASONS_SHOWN]:
        path, reason = group[0]
        count = f"{len(group):,} files {verdict}, such as {path}" if len(group) > 1 else f"{path} {verdict}"
        lines.append(f"  {count}: {reason}")
    if left := sum(map(len, ordered[REASONS_SHOWN:])):
        lines.append(f"  and {left:,} more {verdict}, listed in {listed_in}")
    return lines


def _rank(reason: str) -> int:
    if INSTALL in reason:
        return 0
    if reason.startswith(UNKNOWN):
        return 3
    return 1 if OPTION in reason else 2
