"""How long a model is to stay loaded, as Ollama's requests say it."""

from __future__ import annotations

import math
import re

from gptsmith.serve.errors import refused

UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def keep_alive_s(given: float | str | None) -> float | None:
    """Seconds from a number of them or from a duration in Go's form, such as `1h30m`: infinite if negative, None if not
    given.

    Raises:
        ApiError: it is no duration.
    """
    if given is None or given == "":
        return None
    seconds = _seconds(given) if isinstance(given, str) else given
    return math.inf if seconds < 0 else seconds


def _seconds(text: str) -> float:
    digits = text.removeprefix("-").removeprefix("+")
    if digits.isdecimal():
        return float(text)
    parts = PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        raise refused("keep_alive", "give seconds, or a duration such as 5m or 1h30m; negative for ever")
    return sum(float(number) * UNITS_S[unit] for number, unit in parts) * (-1 if text.startswith("-") else 1)
