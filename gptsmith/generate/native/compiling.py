"""How functions are compiled, and where what was compiled is kept: by the content of the sources that it came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import llvmlite
import numba

from gptsmith.base.cache_folder import default_cache


def _sources() -> str:
    """The SHA-256 of this folder's code and of the compiler's version, in short."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# numba itself would only look at the time of the one file that a function is in.
numba.config.CACHE_DIR = str(default_cache() / "compiled" / _sources())

compiled: Any = numba.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
inlined: Any = numba.njit(nogil=True, inline="always", error_model="numpy")
