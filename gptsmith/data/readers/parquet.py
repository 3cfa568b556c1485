"""Parquet tables. Each row is a document, read from the bytes of its row group's columns of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from gptsmith.base.errors import DataError, MissingExtraError, UserError
from gptsmith.data.files import Expansion, seekable
from gptsmith.data.readers import Chunk, Reader, ReadSettings, Record, SourceFile
from gptsmith.data.records import NUM_SAMPLES, chosen_fields, document

BATCH_ROWS = 256

# Rows become Python's objects in steps of about this size.
STEP_BYTES = 4_000_000


class ParquetReader(Reader):
    kind: Literal["parquet"] = "parquet"
    extensions: ClassVar[tuple[str, ...]] = (".parquet",)
    is_packed: ClassVar[bool] = True
    keeps_splits: ClassVar[bool] = True
    libraries: ClassVar[Mapping[str, str]] = {"pyarrow.parquet": "pyarrow"}
    holds_records: ClassVar[bool] = True

    def recognizes(self, head: bytes, members: frozenset[str]) -> str | None:
        return ".parquet" if head.startswith(b"PAR1") else None

    def read(self, file: SourceFile, settings: ReadSettings) -> Iterator[Chunk]:
        with opened(file) as table:
            with damage_is_a_user_error(file.path):
                samples = first_rows(file, table)
            if not samples:
                return
            chosen = chosen_fields(file.path, samples, settings.text_field)
            for record in row_records(file, table, chosen):
                yield from document(file.path, record, chosen)

    def records(self, file: SourceFile, settings: ReadSettings) -> Iterator[Record]:
        with opened(file) as table:
            yield from row_records(file, table, tuple(table.schema_arrow.names))


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
            if repeated := repeated_texts(table.metadata):
                # A value that stands in many rows is read once.
                stream.seek(0)
                table = ParquetFile(stream, read_dictionary=repeated)
        yield table


def repeated_texts(metadata: Any) -> list[str]:
    """The paths of the columns whose texts are stored once for many rows."""
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    columns = (group.column(index) for group in groups for index in range(group.num_columns))
    return sorted(
        {
            column.path_in_schema
            for column in columns
            if column.physical_type == "BYTE_ARRAY" and column.has_dictionary_page
        }
    )


def first_rows(file: SourceFile, table: Any) -> list[dict[str, Any]]:
    """The first rows of a table, with None for what cannot be text, which is not read."""
    from pyarrow import types

    can_be_text = (types.is_string, types.is_large_string, types.is_dictionary, types.is_nested)
    schema = table.schema_arrow
    columns = [column.name for column in schema if any(test(column.type) for test in can_be_text)]
    if not table.metadata.num_rows:
        return []
    if not columns:
        return [dict.fromkeys(schema.names)]
    rows = islice(row_records(file, table, tuple(columns)), NUM_SAMPLES)
    return [{**dict.fromkeys(schema.names), **row.fields} for row in rows]


def row_records(file: SourceFile, table: Any, columns: tuple[str, ...]) -> Iterator[Record]:
    """The rows of a table, with some of its columns; the others are not read.

    Raises:
        DataError: the file is damaged, or its rows are larger than a file of its size may unpack to.
    """
    numbers = count(1)
    size = file.path.stat().st_size
    expansion = Expansion(file.path, size, file.max_expansion)
    for group in range(table.num_row_groups):
        start, end, unpacked = byte_range(table.metadata.row_group(group), columns)
        Expansion(file.path, size, file.max_expansion).add(unpacked)
        batches = table.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns))
        while True:
            with damage_is_a_user_error(file.path):
                batch = next(batches, None)
            if batch is None:
                break
            num_bytes = sum(map(size_in_rows, batch.columns))
            expansion.add(num_bytes)
            step = max(1, batch.num_rows * STEP_BYTES // max(num_bytes, STEP_BYTES))
            for first in range(0, batch.num_rows, step):
                with damage_is_a_user_error(file.path):
                    rows = batch.slice(first, step).to_pylist()
                for row in rows:
                    yield Record(row, f"row {next(numbers)}", start, end)


def size_in_rows(array: Any) -> int:
    """The bytes of an array's values where each row has its own copy."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        if not types.is_string(array.type.value_type) and not types.is_large_string(array.type.value_type):
            return int(array.nbytes)
        lengths = compute.binary_length(array.dictionary).take(array.indices)
        return int(compute.sum(lengths).as_py() or 0) + array.indices.nbytes
    if types.is_struct(array.type):
        return sum(map(size_in_rows, array.flatten()))
    if types.is_list(array.type) or types.is_large_list(array.type):
        return size_in_rows(array.flatten()) + 4 * len(array)
    return int(array.nbytes)


def byte_range(row_group: Any, columns: tuple[str, ...]) -> tuple[int, int, int]:
    """Where the chosen columns of a row group begin and end in the file, and the bytes that they unpack to."""
    starts, ends, unpacked = [], [], 0
    for index in range(row_group.num_columns):
        chunk = row_group.column(index)
        # A column of lists or records is stored as several, with paths that start with its name and a dot.
        if any(f"{chunk.path_in_schema}.".startswith(f"{name}.") for name in columns):
            starts.append(chunk.dictionary_page_offset or chunk.data_page_offset)
            ends.append(starts[-1] + chunk.total_compressed_size)
            unpacked += chunk.total_uncompressed_size
    return min(starts), max(ends), unpacked


@contextmanager
def damage_is_a_user_error(path: Path) -> Iterator[None]:
    """Turns what the library says of a damaged file into a line for a person.

    Raises:
        DataError: the file is not Parquet, or damaged.
    """
    from pyarrow import ArrowException

    try:
        yield
    except UserError:
        raise
    except (ArrowException, OSError, ValueError) as error:
        first_line = str(error).partition("\n")[0]
        raise DataError(f"{path} is not a sound Parquet file ({first_line}): copy or download it again") from None
