"""The documents of a piece, read as a stream: memory holds a block of a text file, or a few rows of a table."""

import codecs
import functools
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from nas.data.encodings import Names, encoding_of, not_text
from nas.data.tables import LONGEST, ROWS, json_rows, parquet_file, parquet_rows, too_long
from nas.preparing.pieces import NAMES, Piece, splits_of

BLOCK = 2**20
"""Bytes of a text file that are read at a time."""
HEAD = 2**13
"""Bytes at the start of a file that decide whether it is text."""
ENCODED = 2**18
"""Largest number of bytes that are encoded at a time."""
BOUNDARY = re.compile(rb"[0-9A-Za-z](?=[ \n\r\t])")
"""Matches the end of a word: no token of the usual pre-tokenizers crosses it."""
NEAR = 2**12
"""Bytes at the end of a part in which a boundary is looked for first."""


def documents(root: str, piece: Piece, column: str, names: Names = NAMES) -> Iterator[Iterable[bytes]]:
    """Yield the documents of a piece, each as blocks of UTF-8 bytes to be read before the next document.

    Args:
        root: folder of the file.
        piece: the piece.
        column: column of a table that has the text.
        names: options that messages name.

    Raises:
        UserError: a row is not text, or does not fit in memory.
        OSError: the file cannot be read.
    """
    path = Path(root, piece.name)
    if piece.kind == "text":
        yield _text(path, names)
    elif piece.kind == "json":
        yield from ([_bytes_of(text)] for text in json_rows(path, column, names, piece.start, piece.stop))
    else:
        rows = max(1, min(ROWS, BLOCK * (piece.stop - piece.start) // piece.size))
        parquet = piece.kind == "parquet"
        texts = _parquet(path, piece, column, rows, names) if parquet else _rows(root, piece, column, rows)
        for number, text in enumerate(texts):
            if len(text) > LONGEST:
                raise too_long(path, f"number {number:,}", names)
            yield [text]


def is_text(root: str, piece: Piece) -> bool:
    """Return whether a piece is text: a file with a zero byte near its start is not, unless it begins with a mark."""
    if piece.kind != "text":
        return True
    with open(Path(root, piece.name), "rb") as opened:
        head = opened.read(HEAD)
    return b"\0" not in head or encoding_of(head) != "utf-8"


def parts_of(blocks: Iterable[bytes], most: int = ENCODED) -> Iterator[bytes]:
    """Yield a document in parts of at most ``most`` bytes.

    A part ends after a word before white space, where the usual pre-tokenizers separate tokens: the tokens are then
    those of the whole document. Where there is no such place, it ends between two characters.
    """
    rest = b""
    for block in blocks:
        rest += block
        at = 0
        while len(rest) - at > most:
            cut = _boundary(rest, at, at + most)
            yield rest[at:cut]
            at = cut
        rest = rest[at:]
    if rest:
        yield rest


def _boundary(text: bytes, start: int, stop: int) -> int:
    """Return the last place after ``start`` and at most ``stop`` at which a text may be cut."""
    for first in (max(start, stop - NEAR), start):
        matches = [match.end() for match in BOUNDARY.finditer(text, first, stop + 1)]
        if matches:
            return matches[-1]
    cut = stop
    while cut > max(start + 1, stop - 3) and text[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut


def _text(path: Path, names: Names) -> Iterator[bytes]:
    """Yield a text file in blocks, re-encoded as UTF-8 if it begins with another mark; invalid bytes are kept."""
    with open(path, "rb") as opened:
        first = opened.read(BLOCK)
        encoding = encoding_of(first)
        blocks = iter(partial(opened.read, BLOCK), b"")
        if encoding.startswith("utf-8"):
            yield first.removeprefix(codecs.BOM_UTF8)
            yield from blocks
            return
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            for block in chain([first], blocks, [b""]):
                yield decoder.decode(block, final=not block).encode()
        except UnicodeError as error:
            raise not_text(path, f"bytes that are not {encoding.upper()}", names) from error


def _bytes_of(text: str) -> bytes:
    """Return the bytes of a text from JSON: bytes that are not UTF-8 as they are, half a surrogate pair as three."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _parquet(path: Path, piece: Piece, column: str, rows: int, names: Names) -> Iterator[bytes]:
    with parquet_file(path, names) as table:
        for texts in parquet_rows(table, path, column, names, range(piece.start, piece.stop), rows):
            yield from texts


def _rows(root: str, piece: Piece, column: str, rows: int) -> Iterator[bytes]:
    split = _opened(root)[piece.name].select_columns([column])
    for start in range(piece.start, piece.stop, rows):
        texts = split[start : min(start + rows, piece.stop)][column]
        yield from (_bytes_of(text) for text in texts if text is not None)


@functools.cache
def _opened(root: str) -> dict[str, Any]:
    return splits_of(root)
