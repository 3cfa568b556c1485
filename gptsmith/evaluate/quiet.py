"""A block in which a third-party library is silent and leaves the random generators untouched."""

from __future__ import annotations

import io
import logging
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import numpy as np
import torch


@contextmanager
def quiet() -> Iterator[None]:
    """While the block runs, nothing is printed, logged or warned of; after it the generators of Python, NumPy and
    PyTorch are as they were before."""
    logged, python_state, numpy_state = logging.root.manager.disable, random.getstate(), np.random.get_state()
    with (
        torch.random.fork_rng(range(torch.cuda.device_count())),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
    ):
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logged)
            random.setstate(python_state)
            np.random.set_state(numpy_state)
