from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

MAX_GROWTH_BYTES = 1_000_000_000


def peak_bytes(field: str) -> int:
    """A figure of this process's memory, in bytes; 0 where the system does not say it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """The memory that a test takes at its height stays within bounds of what was there before."""
    with suppress(OSError):  # the height so far is forgotten
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_bytes("VmRSS")
    yield
    assert peak_bytes("VmHWM") - before < MAX_GROWTH_BYTES
