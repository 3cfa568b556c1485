"""A person at a terminal: the lines that they type, and text of a model that cannot do anything to their screen."""

from __future__ import annotations

import sys
from contextlib import suppress

from gptsmith.base import console
from gptsmith.base.errors import UserError

BOLD_PROMPT = "\001\033[1m\002> \001\033[0m\002"
"""Between 1 and 2 stands what takes no place on the line."""
DIM, NOT_DIM = "\033[2m", "\033[22m"


def visible(text: str, *, is_dim: bool = False) -> str:
    """A text for standard output. On a terminal, control characters are shown and not obeyed: a model may write any,
    and some move, recolour or rename what a person sees. There, and only there, it may be dim."""
    if not sys.stdout.isatty():
        return text
    return f"{DIM}{console.harmless(text)}{NOT_DIM}" if is_dim else console.harmless(text)


def read_line() -> str | None:
    """A line that a person types after a prompt, or nothing at the end of the input. On a terminal it can be edited,
    may have any length, and earlier ones come back by the arrow keys.

    Raises:
        UserError: it is no text.
    """
    with suppress(ImportError):
        import readline  # noqa: F401  input() edits lines by it
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            return input(BOLD_PROMPT)
        if sys.stdin.isatty():
            console.notes.print("> ", style="bold", end="")
        line = sys.stdin.readline()
    except EOFError:
        console.note("")
        return None
    except UnicodeDecodeError:
        raise UserError(f"that line is not in {sys.stdin.encoding}, as this terminal says it is") from None
    return line.removesuffix("\n") if line else None
