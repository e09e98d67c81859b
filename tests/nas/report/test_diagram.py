"""Stacks of layers: what stands in a block, and which hand-designed hybrids stand beside what was found."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from nas.report.diagram import Block, by_hand, stacks_of
from tests.nas.architectures import small


def test_a_block_says_what_is_known() -> None:
    assert Block.of("softmax", 16, None) == Block("softmax", "softmax", 1.0)
    assert Block.of("linear", 16, None) == Block("linear", "linear", 0.0)
    assert Block.of("token_hybrid", 16, 0.034) == Block("hybrid", "hybrid, 3 % softmax, chunks of 16", 0.034)
    assert Block.of("token_hybrid", 16, math.nan) == Block("hybrid", "hybrid, chunks of 16", None)
    assert Block.of("token_hybrid", None, None) == Block("hybrid", "hybrid", None)


def test_hand_designed_hybrids_need_enough_layers_and_stand_there_once() -> None:
    assert [stack.name for stack in by_hand(8)] == [
        *("interleaved_1_1", "interleaved_3_1", "interleaved_7_1", "nats_l", "softmax", "linear", "token_hybrid")
    ]
    assert [stack.name for stack in by_hand(3)] == ["interleaved_1_1", "nats_l", "softmax", "linear", "token_hybrid"]
    assert [stack.name for stack in by_hand(1)] == ["nats_l", "softmax", "linear"]
    assert [block.kind for block in by_hand(4)[1].blocks] == ["linear"] * 3 + ["softmax"]


def test_what_a_run_found_is_read_with_its_shares(tmp_path: Path) -> None:
    assert stacks_of(tmp_path) == []
    found = small("linear", "token_hybrid", chunk_size=8)
    for shares, words in (([0.25, 0.75], "hybrid, 50 % softmax, chunks of 8"), ([None, 0.5], "hybrid, chunks of 8")):
        given = {"architecture": found.to_dict(), "measured": {"shares": {"1": shares}}}
        (tmp_path / "architecture.json").write_text(json.dumps(given))
        first = stacks_of(tmp_path)[0]
        assert first.searched
        assert [block.words for block in first.blocks] == ["linear", words]


@pytest.mark.parametrize(
    "measured", [None, [], {"shares": {"x": [0.5]}}, {"shares": {"1": []}}, {"shares": {"1": 0.5}}]
)
def test_shares_that_are_damaged_are_left_out(tmp_path: Path, measured: Any) -> None:
    given = {"architecture": small("linear", "token_hybrid", chunk_size=8).to_dict(), "measured": measured}
    (tmp_path / "architecture.json").write_text(json.dumps(given))
    assert stacks_of(tmp_path)[0].blocks[1].share is None
