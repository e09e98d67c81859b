"""The record of finished units."""

from pathlib import Path

import pytest

from nas.data.shards.folder import Shard
from nas.errors import UserError
from nas.preparing.state import STATE, State, opened
from nas.preparing.unit import Counts, Finished

OPTIONS = {"input": "1 files", "column": "text"}


def test_finished_units_are_read_back(tmp_path: Path) -> None:
    shard = Shard("train-00003", "train", 5, 1, 4)
    state = State(tmp_path, OPTIONS, {3: Finished(3, [shard], Counts(documents=1, digest=2**127)), 1: Finished(1)})
    state.write()
    (tmp_path / "train-00003.bin").write_bytes(bytes(10))
    (tmp_path / "train-00003.idx.npy").touch()
    assert opened(tmp_path, OPTIONS).finished == state.finished
    assert opened(tmp_path, OPTIONS).counts == Counts(documents=1, digest=2**127)


@pytest.mark.parametrize("name", ["train-00003.bin", "train-00003.idx.npy"])
def test_a_unit_without_its_shards_is_not_finished(name: str, tmp_path: Path) -> None:
    State(tmp_path, OPTIONS, {3: Finished(3, [Shard("train-00003", "train", 5, 1, 4)]), 1: Finished(1)}).write()
    for own in ("train-00003.bin", "train-00003.idx.npy"):
        (tmp_path / own).write_bytes(bytes(10))
    assert [*opened(tmp_path, OPTIONS).finished] == [1, 3]
    (tmp_path / "train-00003.bin").write_bytes(bytes(9))
    assert [*opened(tmp_path, OPTIONS).finished] == [1]
    (tmp_path / "train-00003.bin").write_bytes(bytes(10))
    (tmp_path / name).unlink()
    assert [*opened(tmp_path, OPTIONS).finished] == [1]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"options": {}, "finished": [{}]}'])
def test_a_damaged_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(content)
    with pytest.raises(UserError, match="is damaged") as caught:
        opened(tmp_path, OPTIONS)
    assert "\n" not in str(caught.value)
