"""PyTorch's compiler (torch.compile) for the blocks of a model in training."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import torch

BACKEND = "inductor"
Function = TypeVar("Function", bound=Callable[..., object])


def missing_for_compiling(device: torch.device) -> str | None:
    """Names the first thing that compiling for a device needs and this machine lacks; None if nothing is missing."""
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "the package triton"
        compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
        return None if any(map(shutil.which, compilers)) else "a C compiler (gcc)"
    if device.type != "cpu":
        return f"code for {device.type}, which was not tried"
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        return f"a C++ compiler ({compiler})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "the header files of Python (Debian: python3-dev)"
    return None


@functools.cache
def compiled(function: Function) -> Function:
    """A function that is compiled when it is first called, and again for inputs of other shapes; one for all blocks of
    all models, whose weights are inputs of it."""
    return cast(Function, torch.compile(function, backend=BACKEND, dynamic=False))
