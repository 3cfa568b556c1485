"""The switch from kernels whose gradient is written out to their plain twins.

Such a kernel can be differentiated once, in reverse. Its twin is made of PyTorch's own operations: any derivative of
any order, `torch.func` and `vmap` work, and take more time and memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _State(threading.local):
    depth = 0


_STATE = _State()


@contextmanager
def plain_twins() -> Iterator[None]:
    """Within the block, this thread computes by the plain twins."""
    _STATE.depth += 1
    try:
        yield
    finally:
        _STATE.depth -= 1


def uses_twins() -> bool:
    """Whether this thread computes by the plain twins."""
    return _STATE.depth > 0
