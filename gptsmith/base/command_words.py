"""A request as the words of a command line, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gptsmith.base.errors import ConfigurationError
from gptsmith.base.settings import Settings

NAMES = {"settings": "set", "hosts": "allow-host", "methods": "method"}
"""Options whose name differs from their field's."""
END_OF_OPTIONS = "--"


def option_name(field: str) -> str:
    """The option of a field: `--max-tokens`."""
    return f"--{NAMES.get(field, field).replace('_', '-')}"


def words_of(request: Settings, positional: Sequence[str], *flags: str) -> list[str]:
    """The words behind a verb that make its request: options first, so that no path is taken for one.

    Args:
        positional: the fields that are given by position, in their order.
        flags: options of the command that are not in its request, such as `--json`.
    """
    words = list(flags)
    for name, field in type(request).model_fields.items():
        value = getattr(request, name)
        if name in positional or value == field.get_default(call_default_factory=True):
            continue
        for one in _each(value):
            words += [option_name(name)] if one is True else [option_name(name), str(one)]
    return [*words, END_OF_OPTIONS, *(str(one) for name in positional for one in _each(getattr(request, name)))]


def fields_of(words: Sequence[str], request: type[Settings], positional: str) -> dict[str, Any]:
    """The fields of a request that the words behind its verb give.

    Args:
        positional: the field that takes what is no option.

    Raises:
        ConfigurationError: there is no such option, or its value is missing.
    """
    by_option = {option_name(name): name for name in request.model_fields}
    fields: dict[str, Any] = {}
    left = iter(words)
    for word in left:
        if word == END_OF_OPTIONS:
            fields.setdefault(positional, []).extend(left)
        elif not word.startswith("--"):
            fields.setdefault(positional, []).append(word)
        elif (name := by_option.get(word)) is None:
            raise ConfigurationError(f"there is no option {word}")
        elif request.model_fields[name].annotation is bool:
            fields[name] = True
        elif (value := next(left, None)) is None:
            raise ConfigurationError(f"{word} needs a value")
        elif isinstance(request.model_fields[name].get_default(call_default_factory=True), list):
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value
    return fields


def _each(value: Any) -> Iterator[Any]:
    """The values of a list, or the one that is none."""
    yield from value if isinstance(value, list | tuple) else [value]
