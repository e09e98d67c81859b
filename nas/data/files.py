"""The text in files: which files of a folder are read, and their text as UTF-8 bytes.

Text files may have a byte-order mark of UTF-8, UTF-16 or UTF-32; without one they are UTF-8. From JSON Lines and
Parquet one column is read, and each of its texts ends in a newline.
"""

import codecs
import json
import os
import stat
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nas.errors import UserError

SKIPPED = frozenset({"CVS", "_darcs", "__pycache__"})
"""Folders that are not read, beside those whose name begins with a dot: version control and compiled code."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks and the encodings that they stand for."""

BLOCK = 2**22
"""Bytes of a file that are read and decoded at a time."""

PARQUET = "nas-hybrid-attention[parquet]"
"""Requirement that installs what reading Parquet needs."""


class File(NamedTuple):
    """One file of a text.

    Attributes:
        path: its path.
        name: its path inside the folder, with "/" on every system.
    """

    path: Path
    name: str


def list_files(root: str, skip: Collection[str] = ()) -> list[File]:
    """Return the regular files below a folder, sorted by name, or the given file alone.

    Files and folders whose name begins with a dot are left out, and folders of `SKIPPED` or ``skip``. Links to files
    are followed, links to folders are not.

    Raises:
        OSError: the root or a folder below it cannot be read.
    """
    given = os.stat(root)
    if stat.S_ISREG(given.st_mode):
        return [File(Path(root), Path(root).name)]
    if not stat.S_ISDIR(given.st_mode):
        raise OSError("it is neither a regular file nor a folder")
    found = []
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not (name.startswith(".") or name in SKIPPED or name in skip)]
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            if path.is_file():
                found.append(File(path, path.relative_to(root).as_posix()))
    return sorted(found, key=lambda file: file.name)


def read_text(path: Path, column: str) -> Iterator[bytes]:
    """Yield the text of a file in parts, as UTF-8 bytes.

    Args:
        path: the file; its ending .jsonl, .ndjson or .parquet means a table.
        column: name of the column of a table that has the text.

    Raises:
        UserError: the file is not text, or a table without such a column.
        OSError: the file cannot be read.
    """
    ending = path.suffix.lower()
    if ending in (".jsonl", ".ndjson"):
        return _json_lines(path, column)
    return _parquet(path, column) if ending == ".parquet" else _plain(path)


def _plain(path: Path) -> Iterator[bytes]:
    """Yield the text of a text file, re-encoded as UTF-8 without byte-order mark."""
    with open(path, "rb") as opened:
        first = opened.read(BLOCK)
        encoding = next((encoding for mark, encoding in MARKS if first.startswith(mark)), "utf-8")
        decoder = codecs.getincrementaldecoder(encoding)()
        for block in (first, *iter(partial(opened.read, BLOCK), b""), b""):
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise _no_text(path, f"bytes that are not {encoding.removesuffix('-sig').upper()}") from error
            if "\0" in text:
                raise _no_text(path, "zero bytes")
            yield text.encode("utf-8")


def _no_text(path: Path, found: str) -> UserError:
    return UserError(
        f"data.path has the file {path}, which is not text: it contains {found}; convert it to UTF-8 text, or remove "
        "it from the folder."
    )


def _json_lines(path: Path, column: str) -> Iterator[bytes]:
    """Yield the text of each line of a JSON Lines file; lines of white space are left out."""
    lines = b"".join(_plain(path)).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"data.path has the file {path}, whose line {number} is not JSON ({error}); give one JSON object on "
                "each line."
            ) from error
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            columns = f"its columns are {', '.join(map(str, row))}" if isinstance(row, dict) else "it is no object"
            raise UserError(
                f"data.column={column} is not a text in line {number} of {path}: {columns}; give a column of text."
            )
        yield _encoded(row[column], path)


def _parquet(path: Path, column: str) -> Iterator[bytes]:
    """Yield the texts of a Parquet file by batches of rows; rows without a text are left out."""
    try:
        from pyarrow import ArrowException, parquet, types
    except ImportError as error:
        raise UserError(
            f"data.path has the file {path}, which needs the package pyarrow; install {PARQUET}, or convert it to "
            ".jsonl or text."
        ) from error
    try:
        with parquet.ParquetFile(path) as table:
            schema = table.schema_arrow
            if column not in schema.names or not (
                types.is_string(schema.field(column).type) or types.is_large_string(schema.field(column).type)
            ):
                raise UserError(
                    f"data.column={column} is not a column of text in {path}: its columns are "
                    f"{', '.join(schema.names)}; give a column of text."
                )
            for batch in table.iter_batches(columns=[column]):
                yield b"".join(_encoded(text, path) for text in batch.column(0).to_pylist() if text is not None)
    except ArrowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"data.path has the file {path}, which is not Parquet ({reason}); repair or remove it."
        ) from error


def _encoded(text: str, path: Path) -> bytes:
    """Return a text of a table as UTF-8 bytes with a newline at its end."""
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError as error:
        raise _no_text(path, "half of a surrogate pair") from error


def _raise(error: OSError) -> None:
    raise error
