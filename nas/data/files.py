"""The text in files: which files of a folder are read, and their text as UTF-8 bytes.

Text files may have a byte-order mark of UTF-8, UTF-16 or UTF-32; without one they are UTF-8. From JSON Lines and
Parquet one column is read, and each of its texts ends in a newline.
"""

import codecs
import os
import stat
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nas.data.encodings import BLOCK, OF_TASK, encoding_of, not_text
from nas.data.tables import json_rows, parquet_file, parquet_rows

SKIPPED = frozenset({"CVS", "_darcs", "__pycache__"})
"""Folders that are not read, beside those whose name begins with a dot: version control and compiled code."""

JSON_LINES = (".jsonl", ".ndjson")
PARQUET_ENDING = ".parquet"


class File(NamedTuple):
    """One file of a text.

    Attributes:
        path: its path.
        name: its path inside the folder, with "/" on every system.
    """

    path: Path
    name: str


def list_files(root: str, skip: Collection[str] = ()) -> list[File]:
    """Return the regular files of a folder, or the given file alone; see `list_names`."""
    if os.path.isfile(root):
        return [File(Path(root), Path(root).name)]
    return [File(Path(root, name), name) for name in list_names(root, skip)]


def list_names(root: str, skip: Collection[str] = ()) -> list[str]:
    """Return the names of the regular files below a folder, sorted, or the name of the given file alone.

    Files and folders whose name begins with a dot are left out, and folders of `SKIPPED` or ``skip``. Links to files
    are followed, links to folders are not.

    Raises:
        OSError: the root or a folder below it cannot be read.
    """
    given = os.stat(root)
    if stat.S_ISREG(given.st_mode):
        return [os.path.basename(root)]
    if not stat.S_ISDIR(given.st_mode):
        raise OSError("it is neither a regular file nor a folder")
    found = []
    for folder, subfolders, names in os.walk(root, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not (name.startswith(".") or name in SKIPPED or name in skip)]
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        found += [
            f"{prefix}{name}"
            for name in names
            if not name.startswith(".") and os.path.isfile(os.path.join(folder, name))
        ]
    return sorted(found)


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
    if ending in JSON_LINES:
        return (_encoded(text, path) for text in json_rows(path, column))
    return _parquet(path, column) if ending == PARQUET_ENDING else _plain(path)


def _plain(path: Path) -> Iterator[bytes]:
    """Yield the text of a text file, re-encoded as UTF-8 without byte-order mark."""
    with open(path, "rb") as opened:
        first = opened.read(BLOCK)
        encoding = encoding_of(first)
        decoder = codecs.getincrementaldecoder(encoding)()
        for block in (first, *iter(partial(opened.read, BLOCK), b""), b""):
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                found = f"bytes that are not {encoding.removesuffix('-sig').upper()}"
                raise not_text(path, found, OF_TASK) from error
            if "\0" in text:
                raise not_text(path, "zero bytes", OF_TASK)
            yield text.encode("utf-8")


def _parquet(path: Path, column: str) -> Iterator[bytes]:
    """Yield the texts of a Parquet file by batches of rows; rows without a text are left out."""
    with parquet_file(path) as table:
        for texts in parquet_rows(table, path, column):
            yield b"".join(_encoded(text.decode("utf-8", "surrogateescape"), path) for text in texts)


def _encoded(text: str, path: Path) -> bytes:
    """Return a text of a table as UTF-8 bytes with a newline at its end."""
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError as error:
        raise not_text(path, "bytes that are not UTF-8, or half of a surrogate pair", OF_TASK) from error


def _raise(error: OSError) -> None:
    raise error
