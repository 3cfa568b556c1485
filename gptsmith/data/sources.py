"""What a verb reads: paths, or in Python also records and texts in memory, which are kept in the cache as a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.errors import DataError
from gptsmith.base.files import sync_file, writing
from gptsmith.base.json_text import json_text
from gptsmith.base.leftovers import temporary_folder
from gptsmith.base.verbs import PathTexts
from gptsmith.data.cache import mark_used
from gptsmith.data.cache_contents import FOLDERS

RECORDS_FILE = "records.jsonl"
MAX_PATH_CHARACTERS = 4096
TABLES = {"to_dicts": "to_dicts()", "to_pylist": "to_pylist()", "iterrows": 'to_dict("records")'}
"""A method of tables that give no records when they are iterated over, and the call that gives them."""


def sources_of(given: Any) -> list[str]:
    """The paths of what a person wants to be read.

    A string or a path is one file, folder or pattern, and a list may have several. A list of dictionaries, a
    `datasets.Dataset` or any other iterable of dictionaries is records; an iterable that is no list and gives strings
    is texts. These are written to the cache, under the hash of their content, so that the same ones are found again.

    Raises:
        DataError: it is none of these, or a record cannot be written as JSON.
    """
    if isinstance(given, str | os.PathLike):
        return [_path(given)]
    if not isinstance(given, list | tuple):
        return _kept(given)
    paths: list[str] = []
    records: list[Any] = []
    for item in given:
        if isinstance(item, Mapping):
            records.append(item)
        elif isinstance(item, str | os.PathLike):
            paths.append(_path(item))
        else:
            paths += _kept(item)
    return [*paths, *(_kept(records) if records else [])]


if TYPE_CHECKING:
    Sources = Any  # whatever `sources_of` takes; in a request that is parsed, list[str]
else:
    Sources = Annotated[
        PathTexts, BeforeValidator(sources_of), WithJsonSchema({"type": "array", "items": {"type": "string"}})
    ]
"""Files, folders and patterns, or records and texts in memory; kept as paths."""


def _path(given: str | os.PathLike[str]) -> str:
    path = os.fspath(given)
    if "\n" in path or len(path) > MAX_PATH_CHARACTERS:
        raise DataError(
            f"a list of strings names files, and {path[:40]!r}… is a text: give texts as "
            '[{"text": ...}, ...], or as an iterator: iter(texts)'
        )
    return path


def _kept(given: Any) -> list[str]:
    """The path of the file that holds some records or texts; the paths, if it is an iterable of `Path`."""
    if isinstance(given, Mapping):
        names = ", ".join(map(str, given))
        raise DataError(
            f"a dictionary ({names[:80]}) is no source: give a list of dictionaries, one for each record; of a data "
            "set with several splits, give one of them, and another as validation"
        )
    for method, call in TABLES.items():
        if hasattr(given, method):
            raise DataError(f"{_described(given)} gives no records by itself: give its {call}")
    try:
        items = iter(given)
    except TypeError:
        raise DataError(
            f"{_described(given)} cannot be read: give a path, a list of paths or of dictionaries, a data set, or "
            "an iterable of texts"
        ) from None
    first = next(items, None)
    if isinstance(first, os.PathLike):
        return [_path(path) for path in chain([first], items)]
    if isinstance(first, str) and "\n" not in first and len(first) < MAX_PATH_CHARACTERS and Path(first).exists():
        raise DataError(f"is {first!r} a text or the name of a file? Give names of files as a list: list(paths)")
    if first is None:
        raise DataError(f"there is nothing in this {type(given).__name__}: give at least one record or text")
    return [str(_written(chain([first], items)))]


def _written(items: Iterable[Any]) -> Path:
    """The file in the cache that holds these records, one a line. They are read once and written as they come."""
    folder = private_folder(default_cache() / FOLDERS["records"])
    sha256 = hashlib.sha256()
    with writing(folder), temporary_folder(folder / "records", private=True) as working:
        with (working / RECORDS_FILE).open("wb") as file:
            for line in _lines(items):
                sha256.update(line)
                file.write(line)
        sync_file(working / RECORDS_FILE)
        target = folder / sha256.hexdigest()[:32]
        if not (target / RECORDS_FILE).exists():
            working.replace(target)
        mark_used(target)
    return target / RECORDS_FILE


def _lines(items: Iterable[Any]) -> Iterator[bytes]:
    for number, item in enumerate(items, 1):
        record = {"text": item} if isinstance(item, str) else item
        if not isinstance(record, Mapping):
            raise DataError(f"record {number:,}: expected a dictionary or a text, not {_described(item)}")
        try:
            line = json_text(dict(record), default=_plain)
        except (TypeError, RecursionError) as error:
            raise DataError(f"record {number:,} ({', '.join(map(str, record))[:80]}): {error}") from None
        yield line.encode() + b"\n"


def _plain(value: Any) -> Any:
    """A value of another library's or of the standard library's, such as a number of NumPy's or a date, for JSON."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{_described(value)} is no text, number or list: leave its field out")


def _described(value: Any) -> str:
    return f"a value of the type {type(value).__name__}"
