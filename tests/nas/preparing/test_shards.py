"""The writer of a shard: its files appear when it is whole, and not at all otherwise."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from nas.data.shards.folder import Shard
from nas.preparing.shards import ShardWriter

TYPE = np.dtype("<u2")


def write(folder: Path, error: Exception | None = None) -> Shard:
    with ExitStack() as files:
        writer = ShardWriter(files, folder, "train", 7, 9, TYPE)
        for tokens in ([1, 2, 3], [4]):
            writer.add(np.array(tokens, dtype=TYPE), 2 * len(tokens))
            writer.end_document()
        made = writer.finish()
        if error is not None:
            raise error
    return made


def test_documents_end_in_the_end_token(tmp_path: Path) -> None:
    assert write(tmp_path) == Shard("train-00007", "train", 6, 2, 8)
    assert np.fromfile(tmp_path / "train-00007.bin", dtype=TYPE).tolist() == [1, 2, 3, 9, 4, 9]
    assert np.load(tmp_path / "train-00007.idx.npy").tolist() == [[0, 0], [4, 6], [6, 8]]


def test_an_error_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="later"):
        write(tmp_path, ValueError("later"))
    assert list(tmp_path.iterdir()) == []
