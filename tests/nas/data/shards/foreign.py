"""Shards of other projects, written for tests as their formats define them."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CODES = {"uint8": 1, "int32": 4, "uint16": 8}


def write_megatron(prefix: Path, documents: Sequence[Sequence[Sequence[int]]], dtype: str = "int32") -> Path:
    """Write the sequences of each document as Megatron-LM does; return the index."""
    sequences = [sequence for document in documents for sequence in document]
    lengths = np.array([len(sequence) for sequence in sequences], dtype="<i4")
    pointers = (np.cumsum(lengths) - lengths).astype("<i8") * np.dtype(dtype).itemsize
    borders = np.cumsum([0, *map(len, documents)]).astype("<i8")
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, CODES[dtype], len(sequences), len(borders))
    index = prefix.with_suffix(".idx")
    index.write_bytes(head + lengths.tobytes() + pointers.tobytes() + borders.tobytes())
    np.concatenate(sequences).astype(np.dtype(dtype).newbyteorder("<")).tofile(prefix.with_suffix(".bin"))
    return index


def write_nanogpt(path: Path, tokens: Sequence[int]) -> Path:
    """Write tokens as nanoGPT does."""
    path.parent.mkdir(exist_ok=True)
    np.array(tokens, dtype=np.uint16).tofile(path)
    return path
