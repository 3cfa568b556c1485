"""How functions are compiled, and where what was compiled is kept: by the content of the sources that it came from."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import numba
import numba.extending
from llvmlite import ir
from numba.core import cgutils

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.console import note_once
from gptsmith.base.errors import one_line
from gptsmith.generate.native.errors import CompilationError


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


_jit: Any = numba.njit  # whose types lack some of its options
_function_at_an_address: Any = numba.cfunc
OPTIONS: Any = {"nogil": True, "error_model": "numpy", "boundscheck": False}
Function = TypeVar("Function", bound=Callable[..., Any])


_names: Counter[tuple[str, str]] = Counter()


def _named(function: Function) -> Function:
    """The function, under a name that no other one of its module has. Those that one function makes have one name, and
    numba tells them apart by the order in which a process has compiled them. Where two processes keep what they have
    compiled, and had another order, a third would call one for the other."""
    name = function.__module__, function.__qualname__
    if number := _names[name]:
        function.__qualname__ += f"_{number}"
    _names[name] += 1
    return function


def compiled(function: Function) -> Function:
    """A function that runs without the interpreter and its lock, for others that do: Python cannot call it."""
    result: Any = _jit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(_named(function))
    return cast(Function, result)


def kept(function: Function) -> Function:
    """A compiled function that is called from outside, and kept with all that it calls."""
    result: Any = _jit(**OPTIONS, cache=True)(function)
    return cast(Function, result)


def inlined(function: Function) -> Function:
    """A function that becomes part of those that call it."""
    result: Any = _jit(**OPTIONS, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(_named(function))
    return cast(Function, result)


@contextmanager
def compilation() -> Iterator[None]:
    """What may go wrong within is the compiler's, or that of the files that it kept.

    Raises:
        CompilationError: it has gone wrong.
    """
    try:
        yield
    except Exception as error:  # another version of numba or LLVM, a processor that it does not know, a damaged file
        raise CompilationError(f"{type(error).__name__}: {one_line(error)}") from error


class Kernel:
    """A function that is called by its address: compiled when the address is first wanted, and kept.

    Args:
        signature: the types of its arguments.
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self._function, self._signature = function, signature

    @cached_property
    def address(self) -> int:
        say_what_takes_long(self._function)
        with compilation():
            make = _function_at_an_address(self._signature, **OPTIONS, nopython=True, cache=True)
            self._compiled = make(self._function)
            return int(self._compiled.address)


def forget_compiled() -> None:
    """Removes what was kept."""
    shutil.rmtree(FOLDER, ignore_errors=True)


def say_what_takes_long(function: Callable[..., Any]) -> None:
    """Says that a function is about to be compiled, unless it was kept; once."""
    if not any(FOLDER.rglob(f"*.{function.__name__}-*.nbc")):
        note_once("compiling the decoder for this processor, once, which takes seconds (--engine torch does without)")


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Writes the call of a function that LLVM or the system knows by name."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    utilities: Any = cgutils
    return builder.call(utilities.get_or_insert_function(builder.module, signature, name), arguments)


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that gives types, and writes instructions of LLVM."""
    return numba.extending.intrinsic(function)
