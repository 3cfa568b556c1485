"""Trust in Python code that settings name: it is run only where the command itself names its file, because settings can
come in a folder that somebody sends."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.base.layers import assignments, layered

REWARD = "train.objective.reward"
_TRUSTED: ContextVar[frozenset[Path]] = ContextVar("trusted", default=frozenset())


def python_function(reward: object) -> tuple[str, str] | None:
    """File and function of a reward FILE.py:FUNCTION; None if it is another."""
    file, colon, function = reward.rpartition(":") if isinstance(reward, str) else ("", "", "")
    return (file, function) if colon and file.endswith(".py") else None


@contextmanager
def trusting(settings: Sequence[str]) -> Iterator[None]:
    """While the block runs, code is run from the file that these assignments of a command name, if they name one."""
    named = python_function(_reward_in(settings))
    token = _TRUSTED.set(_TRUSTED.get() | ({_real(named[0])} if named is not None else set()))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def require_trust(file: Path, function: str) -> None:
    """Checks that the command names a file of code.

    Raises:
        UserError: it does not: only settings in a file do.
    """
    if _real(file) not in _TRUSTED.get():
        given = shlex.join(["--set", f"{REWARD}={file}:{function}"])
        raise UserError(
            f"{file} is Python code that the settings name and this command does not: read it, and if you trust it, "
            f"add {given}"
        )


def without_known_code(
    settings: Sequence[str], recorded: Mapping[str, Any], locate: Callable[[str], str]
) -> Sequence[str]:
    """The assignments of a command that resumes a run, without those that name the code which the run names already,
    perhaps by another path."""
    known, named = python_function(_value(recorded)), python_function(_reward_in(settings))
    if known is None or named is None or known[1] != named[1] or _real(locate(known[0])) != _real(named[0]):
        return settings
    return [each for each in settings if each.partition("=")[0].strip() != REWARD]


def _reward_in(settings: Sequence[str]) -> Any:
    return _value(layered(assignments(settings)).values)


def _value(table: Any) -> Any:
    for key in REWARD.split("."):
        table = table.get(key) if isinstance(table, Mapping) else None
    return table


def _real(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()
