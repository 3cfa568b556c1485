"""The methods and filters that a chat template may call, each with a check before it makes something large."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from string import Formatter
from typing import Any

from jinja2.exceptions import SecurityError

from gptsmith.text.template_meter import TemplateLimitError

MAX_COUNT = 100_000
MAX_WIDTH = 10_000
MAX_SEPARATOR = 100
PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\*|\d+)?(?:\.(\*|\d+))?")

Size = Callable[[Any], int]


def _width(value: Any, limit: int = MAX_WIDTH) -> int:
    """A count that a call names; 0 if it is no number.

    Raises:
        TemplateLimitError: it is too large.
    """
    if isinstance(value, int) and abs(value) > limit:
        raise TemplateLimitError(f"it asks for a width or a count of {str(value)[:30]} (at most {limit:,})")
    return abs(value) if isinstance(value, int) else 0


def percent_size(form: str, values: Any, size: Size) -> int:
    """The most that `form % values` makes.

    Raises:
        TemplateLimitError: a width in it is too large.
    """
    total = len(form)
    each = size(values)
    for match in PERCENT.finditer(form):
        for number in match.groups():
            if number == "*" or (number and len(number) > len(str(MAX_WIDTH))):
                raise TemplateLimitError(f"it asks for a width of {number[:30]} (at most {MAX_WIDTH:,})")
            total += _width(int(number)) if number else 0
        total += each
    return total


def _format_size(form: str, values: Any, size: Size) -> int:
    total, each = len(form), size(values)
    for _, field, spec, _ in Formatter().parse(form):
        if spec and ("{" in spec or re.search(rf"\d{{{len(str(MAX_WIDTH))},}}", spec)):
            raise TemplateLimitError(f"it formats by {spec[:30]!r} (numbers below {MAX_WIDTH:,} only)")
        total += 0 if field is None else each + MAX_WIDTH * bool(spec)
    return total


def replace_size(text: str, old: str, new: str) -> int:
    """The most that `text.replace(old, new)` makes."""
    found = text.count(old) if old else len(text) + 1
    return len(text) + found * max(0, len(new) - len(old))


def _padded(text: str, args: tuple[Any, ...], size: Size) -> int:
    return len(text) + sum(_width(value, MAX_COUNT) for value in args[:1])


def _replaced(text: str, args: tuple[Any, ...], size: Size) -> int:
    return replace_size(text, *args[:2]) if len(args) > 1 and all(isinstance(a, str) for a in args[:2]) else 0


def _joined(text: str, args: tuple[Any, ...], size: Size) -> int:
    values = args[0] if args else ()
    return len(text) * len(values) + size(values) if isinstance(values, list | tuple | dict | str) else 0


SMALL_METHODS = (
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower "
    "isnumeric isprintable isspace istitle isupper lower lstrip partition removeprefix removesuffix rfind rindex "
    "rpartition rsplit rstrip split splitlines startswith strip swapcase title upper"
)
TEXT_METHODS: dict[str, Callable[[str, tuple[Any, ...], Size], int]] = {
    **dict.fromkeys(SMALL_METHODS.split(), lambda text, args, size: len(text)),
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded),
    **dict.fromkeys(("format", "format_map"), _format_size),
    "expandtabs": lambda text, args, size: len(text) + text.count("\t") * _width(args[0] if args else 8),
    "join": _joined,
    "replace": _replaced,
}
"""A text's methods, each with the most that it makes."""

OTHER_METHODS: dict[type, frozenset[str]] = {
    dict: frozenset({"copy", "get", "items", "keys", "values"}),
    list: frozenset({"copy", "count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset({"bit_length", "is_integer"}),
    float: frozenset({"is_integer"}),
}


def method_size(owner: Any, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], size: Size) -> int:
    """The most that a method of a plain value makes.

    Raises:
        SecurityError: templates may not call it.
        TemplateLimitError: a width in it is too large.
    """
    if isinstance(owner, str) and name in TEXT_METHODS:
        if name in ("format", "format_map"):
            args = (*args, *kwargs.values())
        elif name == "expandtabs" and "tabsize" in kwargs:
            args = (kwargs["tabsize"],)
        return TEXT_METHODS[name](owner, args, size)
    for kind, names in OTHER_METHODS.items():
        if isinstance(owner, kind) and name in names:
            return size(owner) if name in ("copy", "count", "index") else 0
    raise SecurityError(f"a chat template may not call {type(owner).__name__}.{name}")


FILTERS = frozenset(
    [
        "abs",
        "attr",
        "batch",
        "capitalize",
        "center",
        "count",
        "d",
        "default",
        "dictsort",
        "e",
        "escape",
        "filesizeformat",
        "first",
        "float",
        "forceescape",
        "format",
        "groupby",
        "indent",
        "int",
        "items",
        "join",
        "last",
        "length",
        "list",
        "lower",
        "map",
        "max",
        "min",
        "random",
        "reject",
        "rejectattr",
        "replace",
        "reverse",
        "round",
        "safe",
        "select",
        "selectattr",
        "slice",
        "sort",
        "string",
        "sum",
        "title",
        "trim",
        "truncate",
        "unique",
        "upper",
        "urlencode",
        "wordcount",
        "xmlattr",
    ]
)
"""Jinja's filters but for those whose time grows faster than their text: pprint, striptags, urlize, wordwrap."""


def filter_size(name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], size: Size) -> int:
    """The most that a filter makes, where that can be much more than it is given.

    Raises:
        TemplateLimitError: a width in it is too large.
    """
    given = (*args, *kwargs.values())
    match name:
        case "batch" | "slice" | "center" | "round" | "truncate":
            limit = {"round": 300, "truncate": 1 << 62}.get(name, MAX_COUNT)
            return max((_width(argument, limit) for argument in given), default=0)
        case "format":
            return percent_size(str(value), kwargs or args, size)
        case "indent":
            text = value if isinstance(value, str) else ""
            widths = (len(one) if isinstance(one, str) else _width(one) for one in (*given, 4))
            return len(text) + (text.count("\n") + 1) * max(widths)
        case "join":
            between = str(args[0] if args else kwargs.get("d", ""))
            return size(value) + (len(value) * len(between) if hasattr(value, "__len__") else 0)
        case "replace":
            old, new = (str(one) for one in (*args, *(kwargs.get(key, "") for key in ("old", "new")))[:2])
            return replace_size(str(value), old, new)
        case "sum" if any(not isinstance(one, int | float | str | None) for one in given):
            raise TemplateLimitError("it adds lists up with the filter sum")
    return 0


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
    *,
    require: Callable[[int], None] = lambda size: None,
) -> str:
    """The filter `tojson`, with Transformers' options, which leaves HTML's characters alone. `require` checks sizes."""
    if any(isinstance(part, str) and len(part) > MAX_SEPARATOR for part in (indent, *(separators or ()))):
        raise TemplateLimitError(f"it separates JSON by more than {MAX_SEPARATOR} characters")
    if isinstance(indent, int):
        _width(indent, MAX_SEPARATOR)
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return encoder.encode(value) if indent is None else "".join(_limited(encoder.iterencode(value), require))


def _limited(parts: Iterable[str], require: Callable[[int], None]) -> Iterable[str]:
    total = 0
    for part in parts:
        total += len(part)
        require(total)
        yield part
