"""Errors for people.

GptsmithError
├── UserError                  something that was requested cannot be done: one line that says what to do, exit code 2
│   ├── ConfigurationError     a setting, an option or a file of settings is unknown or not allowed
│   │   └── UnknownSettingError a group of settings has no such key
│   ├── DataError              a text, a record or an example cannot be read or used
│   ├── CheckpointError        a run or one of its checkpoints is missing, damaged or of a newer version
│   ├── ConversionError        a model of another program cannot be imported, or a run cannot be exported
│   ├── MissingExtraError      a library is needed that is not installed: the line says how to install it
│   ├── ContextOverflowError   a prompt does not fit into the model's context (`gptsmith.generate.request`)
│   ├── InvalidConstraintError a grammar, pattern or schema cannot be compiled (`gptsmith.generate.request`)
│   ├── StoreError             an object store cannot be reached, or refuses (`gptsmith.store.objects`)
│   ├── WorkerEndedError       a worker of prepare was ended from outside (`gptsmith.data.preparation.run`)
│   ├── QueueFullError         more requests wait than an engine accepts (`gptsmith.generate.request`)
│   ├── LostProcessError       another process of a training has ended (`gptsmith.run.distributed`)
│   ├── TooShortError          the time is too short to train anything (`gptsmith.train.planning.plan`)
│   └── TrainingDivergedError  training stays non-finite after every recovery (`gptsmith.train.stability`)
└── ApiError                   a request to a server cannot be answered (`gptsmith.serve.errors`)

Every `UserError` is a `ValueError` too. Errors with a module in brackets are defined there.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from gptsmith.base.renamed import RENAMED
from gptsmith.base.synonyms import plain, synonyms_of

MAX_NAME_CHARACTERS = 100
"""Of a name that somebody gave, for which a nearest one is looked for."""


class GptsmithError(Exception):
    """The base of every error that this package raises on purpose."""


class UserError(GptsmithError, ValueError):
    """The input that was given, the problem with it, the allowed values and what to do, in one line."""


class ConfigurationError(UserError):
    """A setting, an option or a file of settings is unknown or not allowed."""


class UnknownSettingError(ConfigurationError):
    """A group of settings has no such key.

    Args:
        key: the key.
        allowed: the keys that the group has.
    """

    def __init__(self, key: str, allowed: Iterable[str]) -> None:
        self.key, self.allowed = key, tuple(allowed)
        super().__init__(f"no such setting: {key} ({did_you_mean(key, self.allowed)})")


class DataError(UserError):
    """A text, a record or an example cannot be read or used."""


class CheckpointError(UserError):
    """A run or one of its checkpoints is missing, damaged or of a newer version."""


class ConversionError(UserError):
    """A model of another program cannot be imported, or a run cannot be exported."""


class MissingExtraError(UserError):
    """A library is not installed: one that only some users need (an extra), or one that was left out or removed.

    Args:
        what: the thing that needs it, as the start of a sentence.
        requirement: what to install, as pip reads it: `gptsmith[search]`, `pypdfium2`.
    """

    def __init__(self, what: str, requirement: str) -> None:
        super().__init__(f"{what} needs a library that is not installed: pip install {shlex.quote(requirement)}")


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """`did you mean X?` for the nearest allowed word, or the list of what is allowed. A name of an older version, or of
    another program, is nearest to the one that takes its place here."""
    allowed, given = sorted(allowed), given[:MAX_NAME_CHARACTERS]
    nearest = renamed(given, allowed) or get_close_matches(given, allowed, n=1)
    return suggestion(nearest) or f"allowed: {', '.join(allowed)}"


def renamed(given: str, allowed: Collection[str]) -> list[str]:
    """The allowed names of what has the given one in an older version, in another program, or in other letters."""
    if RENAMED.get(given) in allowed:
        return [RENAMED[given]]
    same = [name for name in allowed if plain(name) == plain(given)]
    return same or synonyms_of(given, allowed)


def suggestion(names: Sequence[str]) -> str:
    """`did you mean X or Y?`; nothing without names."""
    return f"did you mean {' or '.join(names)}?" if names else ""


def one_line(error: object, limit: int = 300) -> str:
    """The text of another library's error, in one line of at most `limit` characters; the type of one without text."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def shown(value: object, limit: int = 80) -> str:
    """A value that somebody gave, as it stands in an error: in one line of at most `limit` characters."""
    if isinstance(value, str):  # only a part of a long text is spelt out
        value = value[: limit + 1]
    return one_line(repr(value), limit)
