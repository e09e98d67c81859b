"""The record of finished units."""

import json
from pathlib import Path

import numpy as np
import pytest

from nas.data.shards.folder import TOKENIZER, Shard
from nas.data.shards.vocabulary import Vocabulary
from nas.errors import UserError
from nas.preparing.state import STATE, State, opened
from nas.preparing.unit import Counts, Finished
from tests.nas.data.shards.written import train_tokenizer

OPTIONS = {"input": "1 files", "column": "text"}
SHARD = Shard("train-00003", "train", 5, 1, 4)


def written(folder: Path) -> Path:
    """A folder with the shard as unit 3, and unit 1 without a shard."""
    np.arange(5, dtype="<u4").tofile(folder / "train-00003.bin")
    np.save(folder / "train-00003.idx.npy", np.array([[0, 0], [5, 4]]))
    finished = {3: Finished(3, [SHARD], Counts(documents=1, digest=2**127)), 1: Finished(1)}
    State(folder, OPTIONS, finished, "fingerprint", "uint32").write()
    return folder


def test_finished_units_are_read_back(tmp_path: Path) -> None:
    state = opened(written(tmp_path), OPTIONS)
    assert state.finished == {1: Finished(1), 3: Finished(3, [SHARD], Counts(documents=1, digest=2**127))}
    assert state.counts == Counts(documents=1, digest=2**127)
    assert (state.tokenizer, state.dtype) == ("fingerprint", "uint32")


@pytest.mark.parametrize("left", [None, 0, 1, 0.5], ids=["deleted", "empty", "a byte", "half"])
@pytest.mark.parametrize("name", ["train-00003.bin", "train-00003.idx.npy"])
def test_a_unit_without_its_shards_is_not_finished(name: str, left: float | None, tmp_path: Path) -> None:
    path = written(tmp_path) / name
    content = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(content[: left if left in (0, 1) else len(content) // 2])
    assert [*opened(tmp_path, OPTIONS).finished] == [1]


def test_a_folder_without_shards_begins_anew_with_other_options(tmp_path: Path) -> None:
    State(tmp_path, OPTIONS).write()
    train_tokenizer(tmp_path / TOKENIZER)
    assert opened(tmp_path, OPTIONS) == State(tmp_path, OPTIONS)
    assert (tmp_path / TOKENIZER).exists()
    others = OPTIONS | {"column": "story"}
    assert opened(tmp_path, others) == State(tmp_path, others)
    assert not (tmp_path / TOKENIZER).exists()
    with pytest.raises(UserError, match="was begun with another column: text, and now it is story"):
        opened(written(tmp_path), others)


def test_finished_shards_keep_their_tokenizer(tmp_path: Path) -> None:
    path = train_tokenizer(tmp_path / TOKENIZER)
    state = State(tmp_path, OPTIONS)
    state.settle(Vocabulary.read(path), path)
    state.finished[1] = Finished(1)
    state.settle(Vocabulary.read(path), path)
    assert json.loads((tmp_path / STATE).read_text())["dtype"] == "uint16"
    train_tokenizer(path, 290)
    with pytest.raises(UserError, match=r"is not the tokenizer of the finished shards beside it; restore it"):
        state.settle(Vocabulary.read(path), path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"options": {}, "finished": [{}]}'])
def test_a_damaged_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(content)
    with pytest.raises(UserError, match="is damaged") as caught:
        opened(tmp_path, OPTIONS)
    assert "\n" not in str(caught.value)
