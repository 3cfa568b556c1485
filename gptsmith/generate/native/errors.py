"""What may be wrong with compiled code, said without its compiler."""

from __future__ import annotations


class UnsupportedModelError(Exception):
    """What compiled code does not know of a model."""


class CompilationError(Exception):
    """The compiler refuses, or what was kept of its work cannot be read."""
