"""Parquet tables. Each row is a document, read from the bytes of its row group's columns of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError, MissingExtraError
from gptsmith.data.files import seekable
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import NUM_SAMPLES, chosen_fields, document

BATCH_ROWS = 256


class ParquetReader(Reader):
    kind: Literal["parquet"] = "parquet"
    extensions: ClassVar[tuple[str, ...]] = (".parquet",)
    keeps_splits: ClassVar[bool] = True
    libraries: ClassVar[Mapping[str, str]] = {"pyarrow.parquet": "pyarrow"}
    holds_records: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".parquet" if head.startswith(b"PAR1") else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with opened(file) as table:
            with damage_is_a_user_error(file.path):
                samples = first_rows(table)
            if not samples:
                return
            chosen = chosen_fields(file.path, samples, settings.text_field)
            for record in row_records(file.path, table, chosen):
                yield from document(file.path, record, chosen)

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        with opened(file) as table:
            yield from row_records(file.path, table, tuple(table.schema_arrow.names))


@contextmanager
def opened(file: SourceFile) -> Iterator[Any]:
    """The table in a file.

    Raises:
        DataError: the file is damaged.
        MissingExtraError: the library that reads it is not installed.
    """
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingExtraError(f"{file.path}: reading .parquet files", "pyarrow") from None
    with seekable(file.open()) as stream:
        with damage_is_a_user_error(file.path):
            table = ParquetFile(stream)
        yield table


def first_rows(table: Any) -> list[dict[str, Any]]:
    """The first rows of a table, with None for what cannot be text, which is not read."""
    from pyarrow import types

    can_be_text = (types.is_string, types.is_large_string, types.is_dictionary, types.is_nested)
    schema = table.schema_arrow
    columns = [column.name for column in schema if any(test(column.type) for test in can_be_text)]
    if not table.metadata.num_rows:
        return []
    rows = next(table.iter_batches(NUM_SAMPLES, columns=columns)).to_pylist()
    return [{**dict.fromkeys(schema.names), **row} for row in rows]


def row_records(path: Path, table: Any, columns: tuple[str, ...]) -> Iterator[Record]:
    """The rows of a table, with some of its columns; the others are not read.

    Raises:
        DataError: the file is damaged.
    """
    numbers = count(1)
    for group in range(table.num_row_groups):
        start, end = byte_range(table.metadata.row_group(group), columns)
        batches = table.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns))
        while True:
            with damage_is_a_user_error(path):
                batch = next(batches, None)
                rows = batch.to_pylist() if batch is not None else []
            if not rows:
                break
            for row in rows:
                yield Record(row, f"row {next(numbers)}", start, end)


def byte_range(row_group: Any, columns: tuple[str, ...]) -> tuple[int, int]:
    """Where the chosen columns of a row group begin and end in the file."""
    starts, ends = [], []
    for index in range(row_group.num_columns):
        chunk = row_group.column(index)
        # A column of lists or records is stored as several, with paths that start with its name and a dot.
        if any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in columns):
            starts.append(chunk.dictionary_page_offset or chunk.data_page_offset)
            ends.append(starts[-1] + chunk.total_compressed_size)
    return min(starts), max(ends)


@contextmanager
def damage_is_a_user_error(path: Path) -> Iterator[None]:
    """Turns what the library says of a damaged file into a line for a person.

    Raises:
        DataError: the file is not Parquet, or damaged.
    """
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise DataError(f"{path} is not a sound Parquet file ({first_line}): copy or download it again") from None
