"""A verb is a function of one request class, whose fields are its arguments."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, Protocol, TypeVar, cast, overload

from pydantic import BeforeValidator, ByteSize, Field, TypeAdapter, ValidationError, WithJsonSchema

from gptsmith.base.assignments import assignments_of
from gptsmith.base.errors import ConfigurationError, did_you_mean
from gptsmith.base.settings import Settings

P = ParamSpec("P")
Result = TypeVar("Result", covariant=True)
S = TypeVar("S", bound=Settings)


class Verb(Protocol[P, Result]):
    """A function that takes the fields of a request class by name and the first of them also by position, or a whole
    request."""

    @overload
    def __call__(self, request: Settings, /) -> Result: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Result: ...
    @overload
    def __call__(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> Result: ...
    @overload
    def __call__(self, first: Any, second: Any, /, *args: P.args, **kwargs: P.kwargs) -> Result: ...


def verb(request: Callable[P, S], *positional: str) -> Callable[[Callable[[S], Result]], Verb[P, Result]]:
    """Make a function of one request a verb.

    Args:
        request: the request class.
        positional: the fields that may be given by position, in their order.
    """
    cls = cast(type[Settings], request)

    def made(run: Callable[[S], Result]) -> Verb[P, Result]:
        @functools.wraps(run)
        def call(*args: Any, **named: Any) -> Result:
            if len(args) == 1 and isinstance(args[0], cls) and not named:
                return run(cast(S, args[0]))
            given = _bound(run.__name__, cls, positional, args, named)
            return run(cast(S, cls.parse(given, run.__name__)))

        parameters = [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD if name in positional else inspect.Parameter.KEYWORD_ONLY,
                annotation=field.annotation,
                default=inspect.Parameter.empty
                if field.is_required()
                else field.get_default(call_default_factory=True),
            )
            for name, field in _positional_first(cls, positional)
        ]
        signature = inspect.Signature(parameters, return_annotation=inspect.signature(run).return_annotation)
        call.__signature__ = signature  # type: ignore[attr-defined]
        del call.__wrapped__  # the function of a request, which nobody is to call
        call.__doc__ = _with_arguments(run.__doc__ or "", cls, positional)
        return cast(Verb[P, Result], call)

    return made


def _bound(
    verb_name: str, cls: type[Settings], positional: Sequence[str], args: Sequence[Any], named: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name, without those that are None.

    Raises:
        TypeError: an argument is unknown or given twice, or there are too many.
    """
    if len(args) > len(positional):
        raise TypeError(f"{verb_name}() takes at most {len(positional)} positional arguments, not {len(args)}")
    by_position = dict(zip(positional, args, strict=False))
    for name in named:
        if name not in cls.model_fields:
            raise TypeError(f"{verb_name}() has no argument {name} ({did_you_mean(name, cls.model_fields)})")
        if name in by_position:
            raise TypeError(f"{verb_name}() got {name} twice")
    return {name: value for name, value in {**by_position, **named}.items() if value is not None}


def _positional_first(cls: type[Settings], positional: Sequence[str]) -> list[tuple[str, Any]]:
    fields = cls.model_fields
    return [*((name, fields[name]) for name in positional), *((n, f) for n, f in fields.items() if n not in positional)]


def _with_arguments(doc: str, cls: type[Settings], positional: Sequence[str]) -> str:
    """A docstring with the meaning of each field before its section `Returns`."""
    lines = [
        f"        {name}: {' '.join((field.description or '').split())}"
        for name, field in _positional_first(cls, positional)
    ]
    before, returns, after = doc.partition("    Returns:")
    return "\n".join([f"{before.rstrip()}\n", "    Args:", *lines, "", f"{returns}{after}"])


def _paths(value: Any) -> Any:
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    return [os.fspath(path) for path in value] if isinstance(value, list | tuple) else value


def _path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _size(value: Any) -> Any:
    """A size as people write it: 2000000, 500MB, 1.5GB or 2GiB.

    Raises:
        ConfigurationError: it is none of these.
    """
    if not isinstance(value, str):
        return value
    try:
        size = int(TypeAdapter(ByteSize).validate_python(value.strip()))
    except ValidationError:
        size = 0
    if size < 1:
        raise ConfigurationError(f"{value!r} is no size: write 2000000, 500MB, 1.5GB or 2GiB")
    return size


def _count(value: Any) -> Any:
    """A count as people write it: 5000000, 5_000_000, 5M, 1.5B or 300k.

    Raises:
        ConfigurationError: it is none of these.
    """
    if not isinstance(value, str):
        return value
    units = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}
    number = value.strip().lower().replace(",", "").replace("_", "")
    try:
        count = float(number.rstrip("kmbg")) * units.get(number[-1:], 1)
    except ValueError:
        count = 0
    if not 1 <= count < float("inf"):
        raise ConfigurationError(f"{value!r} is not a count: write 5000000, 5M, 1.5B or 300k")
    return int(count)


PathText = Annotated[str | Path, BeforeValidator(_path), WithJsonSchema({"type": "string"})]
"""A path, kept as text."""
PathTexts = Annotated[
    Sequence[str | Path], BeforeValidator(_paths), WithJsonSchema({"type": "array", "items": {"type": "string"}})
]
"""A path or pattern, or several; kept as a list of texts."""
Texts = Annotated[
    Sequence[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]
"""One text or several, never the letters of one."""
if TYPE_CHECKING:
    Assignments = Any  # whatever `assignments_of` takes; in a request that is parsed, list[str]
else:
    Assignments = Annotated[
        Sequence[str],
        BeforeValidator(assignments_of),
        WithJsonSchema({"type": "array", "items": {"type": "string"}}),
    ]
"""Settings by their paths; kept as `a.b=c`."""
if TYPE_CHECKING:
    Count = Any  # int | str; in a request that is parsed, int
    Size = Any
else:
    Count = Annotated[int, Field(gt=0), BeforeValidator(_count)]
    Size = Annotated[int, Field(gt=0), BeforeValidator(_size)]
"""A count, also as people write it: 5M; and a size in bytes: 2GB."""


def not_recorded(default: Any = None, **constraints: Any) -> Any:
    """A field of a request that says how a verb is called and not what it makes, so run.toml does not keep it."""
    return Field(default=default, exclude=True, **constraints)
