"""Folders of tokens: what is written is read back, and damage is noticed before it is used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas.data.shards.folder import RECORD, TOKENIZER, Folder, Part
from nas.errors import UserError
from tests.nas.data.shards.written import TEXT, train_tokenizer, write_folder

DOCUMENTS = [b"first\n", "zweites Stück".encode(), b"\xff"]
PARTS: dict[Part, list[list[bytes]]] = {"train": [DOCUMENTS, [TEXT.encode()]], "validation": [[b"held out"]]}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write_folder(tmp_path / "tokens", PARTS)
    read = Folder.read(tmp_path / "tokens")
    assert read == written
    assert [shard.name for shard in read.of("train")] == ["train-00000", "train-00001"]
    assert read.complete
    first = read.shards[0]
    tokens, documents = read.tokens(first), read.documents(first)
    assert isinstance(tokens, np.memmap)
    assert isinstance(documents, np.memmap)
    vocabulary = read.vocabulary()
    for number, document in enumerate(DOCUMENTS):
        own = tokens[documents[number, 0] : documents[number + 1, 0]].tolist()
        assert own[-1] == read.end
        assert vocabulary.decode(own) == document
        assert documents[number + 1, 1] - documents[number, 1] == len(document)


def test_the_tokenizer_of_a_folder_is_checked(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tokens", PARTS, train_tokenizer(tmp_path / "tokenizer.json"))
    read = Folder.read(folder.path)
    assert read.vocabulary().size == read.vocab_size == 300
    (folder.path / TOKENIZER).write_text((folder.path / TOKENIZER).read_text() + " ")
    with pytest.raises(UserError, match=r"is not the tokenizer that tokens\.json names"):
        read.vocabulary()
    (folder.path / TOKENIZER).unlink()
    with pytest.raises(UserError, match="is missing"):
        read.vocabulary()


def test_an_unfinished_folder_is_read_as_such(tmp_path: Path) -> None:
    folder = replace(write_folder(tmp_path / "tokens", PARTS), complete=False)
    (folder.path / RECORD).write_text(folder.record())
    assert Folder.read(folder.path) == folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("train-00001.bin", "it was cut off or replaced"),
        ("train-00001.idx.npy", "its index is damaged"),
        (RECORD, "cannot be read"),
    ],
)
def test_files_that_are_cut_off_or_missing_are_refused(name: str, reason: str, tmp_path: Path) -> None:
    path = write_folder(tmp_path / "tokens", PARTS).path
    cut(path / name)
    cut(path / name)  # the record ends in a newline
    with pytest.raises(UserError, match=reason) as caught:
        Folder.read(path)
    assert "\n" not in str(caught.value)
    (path / name).unlink()
    with pytest.raises(UserError, match=r"lacks the shard train-00001|has no tokens\.json"):
        Folder.read(path)


def test_an_index_of_another_shard_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "tokens", PARTS).path
    (path / "train-00001.idx.npy").write_bytes((path / "train-00000.idx.npy").read_bytes())
    with pytest.raises(UserError, match="does not fit"):
        Folder.read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"dtype": "object"},
        {"end": 300},
        {"vocab_size": 10**6},
        {"tokenizer": "/etc/passwd"},
        {"fingerprint": None},
        {"shards": [{"name": "train-../../x", "part": "train", "tokens": 1, "documents": 1, "bytes": 1}]},
        {"shards": 3},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_damaged_or_strange_record_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    path = write_folder(tmp_path / "tokens", PARTS).path
    record = json.loads((path / RECORD).read_text())
    (path / RECORD).write_text(json.dumps(record | changes))
    with pytest.raises(UserError, match=r"damaged or not of nas\.prepare|not of format 1"):
        Folder.read(path)


def test_arrays_of_objects_are_not_loaded(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "tokens", PARTS).path
    np.save(path / "train-00000.idx.npy", np.array([[{}, 0]] * 4, dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="train-00000"):
        Folder.read(path)
