"""The writer of one shard: tokens go to the disk at once, the starts of documents when the shard ends."""

import io
from array import array
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.shards.folder import Part, Shard
from nas.files.saving import replacing

BUFFER = 2**20
"""Bytes of tokens that are written at a time."""


class ShardWriter:
    """A shard that takes its place in the folder when ``files`` is closed without an error.

    Args:
        files: context that owns the files; on an error they are removed.
        folder: folder of the shards.
        part: part of the documents.
        number: number of the shard.
        end: end token.
        dtype: type of the tokens, little-endian.
    """

    def __init__(self, files: ExitStack, folder: Path, part: Part, number: int, end: int, dtype: np.dtype[Any]) -> None:
        self._name, self._part = f"{part}-{number:05}", part
        self._index_path = files.enter_context(replacing(folder / f"{self._name}.idx.npy"))
        path = files.enter_context(replacing(folder / f"{self._name}.bin"))
        self._file = files.enter_context(io.BufferedWriter(io.FileIO(path, "wb"), BUFFER))
        self._end = np.array([end], dtype=dtype)
        self._starts = array("q", (0, 0))
        self._tokens = self._bytes = 0

    def add(self, tokens: NDArray[Any], size: int) -> None:
        """Append tokens, of type ``dtype``, of ``size`` bytes to the current document."""
        self._file.write(tokens.data)
        self._tokens += len(tokens)
        self._bytes += size

    def end_document(self) -> None:
        """End the current document with the end token."""
        self.add(self._end, 0)
        self._starts.extend((self._tokens, self._bytes))

    def finish(self) -> Shard:
        """Write the index and return the shard."""
        self._file.close()
        starts = np.array(self._starts, dtype="<i8").reshape(-1, 2)
        with open(self._index_path, "wb") as file:
            np.save(file, starts, allow_pickle=False)
        return Shard(self._name, self._part, self._tokens, len(starts) - 1, self._bytes)
