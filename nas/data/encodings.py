"""The encodings of text files, and the error for a file that is not text."""

import codecs
from pathlib import Path
from typing import NamedTuple

from nas.errors import UserError

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


class Names(NamedTuple):
    """Names of the options that messages name.

    Attributes:
        path: option with the file or folder.
        column: option with the column of a table that has the text.
    """

    path: str
    column: str


OF_TASK = Names("data.path", "data.column")
"""The options of tasks."""


def encoding_of(first: bytes) -> str:
    """Return the encoding of a text file, as Python names it, from its first bytes."""
    return next((encoding for mark, encoding in MARKS if first.startswith(mark)), "utf-8")


def not_text(path: Path, found: str, names: Names) -> UserError:
    """Return the error for a file that contains something that is not text."""
    return UserError(
        f"{names.path} has the file {path}, which is not text: it contains {found}; convert it to UTF-8 text, or "
        "remove it from the folder."
    )
