"""The texts in tables: one column of JSON Lines or Parquet, row by row, so that memory holds only a few rows."""

import codecs
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.data.encodings import BLOCK, OF_TASK, Names, encoding_of, not_text
from nas.errors import UserError

LONGEST = 2**27
"""Largest number of bytes of a row of a table, which is held in memory as a whole."""

ROWS = 2**10
"""Largest number of rows of a Parquet file that are read at a time."""

PARQUET = "nas-hybrid-attention[parquet]"
"""Requirement that installs what reading Parquet needs."""


def json_rows(path: Path, column: str, names: Names = OF_TASK, start: int = 0, stop: float = math.inf) -> Iterator[str]:
    """Yield the text of each line of a JSON Lines file; lines of white space, or without a text (null), are left out.

    Bytes that are not UTF-8 are decoded with the error handler surrogateescape.

    Args:
        path: the file.
        column: name of the column that has the text.
        names: options that messages name.
        start: first byte of the file; only lines that begin there or later are read.
        stop: byte at which no further line begins.

    Raises:
        UserError: a line is no JSON object with such a text, or is longer than `LONGEST`.
        OSError: the file cannot be read.
    """
    origin = f" after byte {start:,}" if start else ""
    for number, line in enumerate(_lines(path, names, start, stop), start=1):
        if not line.strip():
            continue
        place = f"line {number}{origin}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{names.path} has the file {path}, whose {place} is not JSON ({error}); give one JSON object on "
                "each line."
            ) from error
        if isinstance(row, dict) and column in row and row[column] is None:
            continue
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            columns = f"its columns are {', '.join(map(str, row))}" if isinstance(row, dict) else "it is no object"
            raise UserError(
                f"{names.column}={column} is not a text in {place} of {path}: {columns}; give a column of text."
            )
        yield row[column]


def _lines(path: Path, names: Names, start: int, stop: float) -> Iterator[str]:
    """Yield the lines of a file that begin in a range of bytes."""
    with open(path, "rb") as opened:
        encoding = encoding_of(opened.read(4))
        first = len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0
        if not encoding.startswith("utf-8"):  # its line breaks are not single bytes
            opened.seek(0)
            try:
                yield from io.TextIOWrapper(opened, encoding, newline="\n")
            except UnicodeDecodeError as error:
                raise not_text(path, f"bytes that are not {encoding.upper()}", names) from error
            return
        opened.seek(max(start - 1, first))
        if start > first:
            while (rest := opened.readline(BLOCK)) and not rest.endswith(b"\n"):
                pass  # of a line that begins earlier
        while opened.tell() < stop and (line := opened.readline(LONGEST + 1)):
            if len(line) > LONGEST:
                raise too_long(path, f"byte {opened.tell() - len(line):,}", names)
            yield line.decode("utf-8", "surrogateescape")


def too_long(path: Path, place: str, names: Names) -> UserError:
    """Return the error for a row of a table that does not fit in memory."""
    return UserError(
        f"{names.path} has the file {path}, whose row at {place} has more than {LONGEST:,} bytes, which is held in "
        "memory as a whole; split the row, or give it as a file of plain text."
    )


@contextmanager
def parquet_file(path: Path, names: Names = OF_TASK) -> Iterator[Any]:
    """Yield an opened Parquet file, a ``pyarrow.parquet.ParquetFile``.

    Raises:
        UserError: the file is damaged, or the package pyarrow is not installed.
        OSError: the file cannot be read.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f"{names.path} has the file {path}, which needs the package pyarrow; install {PARQUET}, or convert it to "
            ".jsonl or text."
        ) from error
    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK) as table:
            yield table
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error  # pyarrow does not name the file
        reason = str(error).splitlines()[0]  # of damage, for which pyarrow also raises OSError
        raise UserError(
            f"{names.path} has the file {path}, which is not Parquet ({reason}); repair or remove it."
        ) from error


def parquet_rows(
    table: Any, path: Path, column: str, names: Names = OF_TASK, groups: Sequence[int] | None = None, rows: int = ROWS
) -> Iterator[list[bytes]]:
    """Yield the texts of an opened Parquet file in lists, as bytes; rows without a text are left out.

    Args:
        table: the file, see `parquet_file`.
        path: path of the file, for messages.
        column: name of the column that has the text.
        names: options that messages name.
        groups: row groups to read; None for all.
        rows: largest number of rows that are read at a time.

    Raises:
        UserError: the file has no such column of text.
    """
    from pyarrow import large_binary

    check_column(table, path, column, names)
    for batch in table.iter_batches(rows, row_groups=groups, columns=[column]):
        yield [text for text in batch.column(0).cast(large_binary()).to_pylist() if text is not None]


def check_column(table: Any, path: Path, column: str, names: Names) -> None:
    """Raise UserError if an opened Parquet file has no such column of text; see `parquet_rows`."""
    from pyarrow import types

    schema = table.schema_arrow
    checks = types.is_string, types.is_large_string, types.is_string_view
    if column not in schema.names or not any(check(schema.field(column).type) for check in checks):
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UserError(
            f"{names.column}={column} is not a column of text in {path}: its columns are {columns}; give a column of "
            "text."
        )
