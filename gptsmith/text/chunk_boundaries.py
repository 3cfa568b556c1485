"""Where a text may be cut so that encoding the parts equals encoding the whole."""

from __future__ import annotations

import re

_SAFE = re.compile(r"(?<=\S)(?= \S)|(?<=\S\n)(?=\S)")
"""Before a single space, or after a single line end, between two characters that are not white space: both
pre-tokenizations that we know (GPT-2's and Qwen2's) end a word there whatever stands around it."""

WINDOW = 4096


def safe_cut(text: str, at: int) -> int | None:
    """The last place up to `at` where `text` may be cut, or None if there is no such place."""
    end = at
    while end > 0:
        start = max(0, end - WINDOW)
        found = [
            match.start() for match in _SAFE.finditer(text, start, min(len(text), end + 2)) if 0 < match.start() <= at
        ]
        if found:
            return found[-1]
        end = start
    return None
