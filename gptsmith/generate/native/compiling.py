"""How functions are compiled, and where what was compiled is kept: by the content of the sources that it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numba.extending
from llvmlite import ir
from numba.core import cgutils

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.console import note


def _sources() -> str:
    """The SHA-256 of this folder's code and of the compiler's version, in short."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


FOLDER = default_cache() / "compiled" / _sources()
# numba itself would only look at the time of the one file that a function is in.
configuration: Any = numba.config
configuration.CACHE_DIR = str(FOLDER)
WHOLE = "*.run_share-*.nbc"
"""The files of the function that calls all others, which is kept last."""


def say_what_takes_long() -> None:
    """Says that something is about to be compiled, unless it was kept."""
    if not any(FOLDER.rglob(WHOLE)):
        note("compiling the decoder for this processor, once: about half a minute (--engine torch does without)")


Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """A function that runs without the interpreter and its lock, and is kept once it is compiled."""
    result: Any = numba.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)(function)
    return cast(Function, result)


def inlined(function: Function) -> Function:
    """A function that becomes part of those that call it."""
    result: Any = numba.njit(nogil=True, inline="always", error_model="numpy")(function)
    return cast(Function, result)


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Writes the call of a function that LLVM or the system knows by name."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    utilities: Any = cgutils
    return builder.call(utilities.get_or_insert_function(builder.module, signature, name), arguments)


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that gives types, and writes instructions of LLVM."""
    return numba.extending.intrinsic(function)
