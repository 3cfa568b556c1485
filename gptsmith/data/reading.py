"""Reading a file with the reader of its kind, whatever the file holds: bounds, line ends, and errors for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gptsmith.base.errors import DataError, GptsmithError
from gptsmith.data.files import Expansion
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile


def read_documents(reader: Reader, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
    """The documents of a file as chunks, with line ends \\n.

    Raises:
        DataError: the file cannot be read, or holds more text than a file of its size may.
        MissingExtraError: the library that reads it is not installed.
    """
    file = replace(file, max_expansion=settings.max_expansion)
    expansion = Expansion(file.path, file.path.stat().st_size, settings.max_expansion)
    held = ""
    with _odd_files_are_user_errors(file):
        for chunk in reader.read(file, settings):
            expansion.add(len(chunk.text))
            text = held + chunk.text
            # The halves of a line end may be in two chunks.
            held = "\r" if text.endswith("\r") and not chunk.last else ""
            text = with_plain_line_ends(text.removesuffix(held))
            yield replace(chunk, text=text) if text != chunk.text else chunk


def read_records(reader: Reader, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
    """The records of a file, with line ends \\n in their texts.

    Raises:
        DataError: the file cannot be read, or a record in it.
        MissingExtraError: the library that reads it is not installed.
    """
    file = replace(file, max_expansion=settings.max_expansion)
    with _odd_files_are_user_errors(file):
        for record in reader.records(file, settings):
            yield replace(record, fields=_with_plain_line_ends(record.fields))


def with_plain_line_ends(text: str) -> str:
    """Text whose lines end in \\n, as Python's text files have them."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _with_plain_line_ends(value: Any) -> Any:
    if isinstance(value, str):
        return with_plain_line_ends(value)
    if isinstance(value, Mapping):
        return {name: _with_plain_line_ends(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_plain_line_ends(item) for item in value]
    return value


@contextmanager
def _odd_files_are_user_errors(file: SourceFile) -> Iterator[None]:
    """Turns whatever a reader, or a library below it, raises at a file into a line for a person: one odd file of
    thousands does not end the work on the others."""
    try:
        yield
    except (GptsmithError, OSError, NotImplementedError):
        raise
    except RecursionError:
        raise DataError(f"{file.path} nests too deeply: save it anew, or leave it out") from None
    except MemoryError:
        raise DataError(f"{file.path} needs more memory than there is: split it up, or leave it out") from None
    except Exception as error:
        first_line = str(error).partition("\n")[0][:200]
        raise DataError(
            f"{file.path} is damaged, or of a form that its reader does not know ({type(error).__name__}: "
            f"{first_line}): save it anew, or leave it out"
        ) from error
