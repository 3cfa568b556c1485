"""How often each file is mutated, and how reading it must end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gptsmith.base.errors import UserError

CASES = int(os.environ.get("GPTSMITH_FUZZ_CASES", "12"))
"""Mutations of each file."""
MAX_LINE = 500


def one_line_or_well(read: Callable[[], object]) -> None:
    """Passes if reading ends well, or with an error of one short line."""
    try:
        read()
    except UserError as error:
        said = str(error)
        for part in (Path.cwd(), *Path.cwd().parents):
            said = said.replace(str(part), "") if part != part.parent else said
        assert "\n" not in said.strip(), said[:MAX_LINE]
        assert len(said) < MAX_LINE, said[:MAX_LINE]
