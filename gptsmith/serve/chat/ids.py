"""Names for answers."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """A name that no other answer has: the prefix, such as `cmpl-` or `resp_`, and 24 hexadecimal digits."""
    return f"{prefix}{secrets.token_hex(12)}"
