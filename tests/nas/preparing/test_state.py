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
    assert opened(tmp_path, OPTIONS).finished == state.finished
    assert opened(tmp_path, OPTIONS).counts == Counts(documents=1, digest=2**127)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"options": {}, "finished": [{}]}'])
def test_a_damaged_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(content)
    with pytest.raises(UserError, match="is damaged") as caught:
        opened(tmp_path, OPTIONS)
    assert "\n" not in str(caught.value)
