"""Words of claims."""

from __future__ import annotations

from collections.abc import Sequence


def joined(texts: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)
