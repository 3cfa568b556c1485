"""Seeds that are named, so that no two users of one seed draw the same numbers."""

from __future__ import annotations

import hashlib
import secrets


def drawn_seed() -> int:
    """A seed that nobody gave, short enough to be typed again: from the operating system's randomness."""
    return secrets.randbelow(1_000_000)


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that is a pure function of `seed` and of what it is for, such as ("order", epoch)."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
