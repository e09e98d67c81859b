"""Shards that Megatron-LM made: `NAME.bin` with the tokens, and `NAME.idx` with the documents.

NAME.idx begins with the magic bytes MMIDIDX, the version (1), a code of the dtype, and the numbers of sequences and of
document borders. The lengths of all sequences follow in int32, their places in NAME.bin in bytes (int64), and for each
document its first sequence (int64); the last of these numbers is the number of sequences.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.data.shards.span import Shard
from nas.errors import UserError

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
"""Magic bytes, version, code of the dtype, number of sequences, number of document borders."""
DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 8: "uint16"}
"""Dtypes of whole numbers by their codes in the header."""


@dataclass(frozen=True)
class DocumentStarts:
    """The first token of each document of a NAME.idx; see `nas.data.shards.span.Starts`.

    Attributes:
        sequences: first sequence of each document, memory-mapped; documents may be empty.
        pointers: place of each sequence in bytes, memory-mapped.
        item: bytes of a token.
        tokens: number of tokens, at which empty documents behind the last sequence begin.
    """

    sequences: NDArray[np.int64]
    pointers: NDArray[np.int64]
    item: int
    tokens: int

    def __len__(self) -> int:
        return len(self.sequences) - 1  # the last border is the end

    def __getitem__(self, index: int) -> int:
        sequence = self.sequences[index]
        return self.tokens if sequence == len(self.pointers) else int(self.pointers[sequence]) // self.item


def read_megatron(path: Path) -> Shard:
    """Return the tokens of a NAME.idx and the NAME.bin beside it, memory-mapped; UserError if they do not fit.

    Args:
        path: NAME.idx.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size or head[: len(MAGIC)] != MAGIC:
        raise UserError(f"{path} is no index of Megatron-LM (it does not begin with MMIDIDX); give its own .idx.")
    _, version, code, sequences, borders = HEADER.unpack(head)
    if version != 1:
        raise UserError(f"{path} has version {version} of Megatron's index format; give an index of version 1.")
    if code not in DTYPES:
        known = ", ".join(f"{number} ({name})" for number, name in DTYPES.items())
        raise UserError(f"{path} has tokens of the unknown dtype code {code}; give shards with one of: {known}.")
    pointers_at = HEADER.size + 4 * sequences
    documents_at = pointers_at + 8 * sequences
    if not sequences or borders < 2 or size < documents_at + 8 * borders:
        raise UserError(
            f"{path} is empty or cut off: {sequences:,} sequences in {max(borders - 1, 0):,} documents take "
            f"{documents_at + 8 * borders:,} bytes, and the file has {size:,}; make or copy it again."
        )
    lengths = np.memmap(path, "<i4", "r", HEADER.size, (sequences,))
    pointers = np.memmap(path, "<i8", "r", pointers_at, (sequences,))
    documents = np.memmap(path, "<i8", "r", documents_at, (borders,))
    dtype = np.dtype(DTYPES[code]).newbyteorder("<")
    tokens, needed = path.with_suffix(".bin"), int(pointers[-1]) + int(lengths[-1]) * dtype.itemsize
    there = tokens.stat().st_size if tokens.is_file() else 0
    if there != needed or not needed:
        raise UserError(
            f"{tokens} is missing, empty or cut off: it has {there:,} bytes and {path.name} describes {needed:,}; copy "
            "both files again."
        )
    if pointers[0] or documents[0] or documents[-1] != sequences or (documents[1:] < documents[:-1]).any():
        raise UserError(f"{path} is damaged: its documents do not cover its sequences; make or copy it again.")
    starts = DocumentStarts(documents, pointers, dtype.itemsize, needed // dtype.itemsize)
    return Shard(tokens, np.memmap(tokens, dtype, "r"), starts)
