"""Shards of Megatron-LM: tokens, documents, and damaged files."""

from pathlib import Path

import pytest

from nas.data.shards.megatron import read_megatron
from nas.errors import UserError
from tests.nas.data.shards.foreign import write_megatron

DOCUMENTS = [[[1, 2], [3]], [[4]], [[5, 6, 7], [8]]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_tokens_and_documents_of_every_dtype(tmp_path: Path, dtype: str) -> None:
    shard = read_megatron(write_megatron(tmp_path / "text_document", DOCUMENTS, dtype))
    assert shard.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert shard.tokens.dtype == dtype
    assert shard.begins(0, 8).tolist() == [True, False, False, True, True, False, False, False]
    assert shard.begins(3, 5).tolist() == [True, True]


def test_documents_may_be_empty(tmp_path: Path) -> None:
    shard = read_megatron(write_megatron(tmp_path / "text", [[], [[1, 2]], [], [[3]], [], []]))
    assert shard.begins(0, 3).tolist() == [True, False, True]
    assert shard.begins(1, 3).tolist() == [False, True]


def changed(index: Path, at: int, value: int) -> None:
    content = bytearray(index.read_bytes())
    content[at] = value
    index.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda index: changed(index, 0, 0), "is no index of Megatron-LM"),
        (lambda index: index.write_bytes(b""), "is no index of Megatron-LM"),
        (lambda index: changed(index, 9, 2), "has version 2 of Megatron's index format"),
        (lambda index: changed(index, 17, 7), "unknown dtype code 7; give shards with one of: 1 (uint8)"),
        (lambda index: index.write_bytes(index.read_bytes()[:-1]), "is empty or cut off: 5 sequences in 3 documents"),
        (lambda index: changed(index, 18, 0), "is empty or cut off: 0 sequences"),
        (lambda index: index.with_suffix(".bin").write_bytes(bytes(30)), "has 30 bytes and text.idx describes 32"),
        (lambda index: index.with_suffix(".bin").unlink(), "has 0 bytes and text.idx describes 32"),
        (lambda index: changed(index, 34 + 5 * 12 + 8, 200), "do not cover its sequences"),
        (lambda index: changed(index, 34 + 5 * 12 + 16, 1), "do not cover its sequences"),
    ],
)
def test_a_damaged_shard_is_refused(tmp_path: Path, damage: object, told: str) -> None:
    index = write_megatron(tmp_path / "text", DOCUMENTS)
    damage(index)  # type: ignore[operator]
    with pytest.raises(UserError) as caught:
        read_megatron(index)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
