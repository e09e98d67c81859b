"""Stacks of layers: what stands in a block, and which hand-designed hybrids stand beside what was found."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from nas.models.operations import find
from nas.report.diagram import Block, by_hand, stacks_of
from nas.search_spaces.architecture import Layer
from tests.nas.architectures import small


def test_a_block_says_what_is_known() -> None:
    softmax, linear, window = (find(name).look for name in ("softmax", "linear", "window"))
    hybrid, both = Layer("token_hybrid", 16), (softmax, linear)
    assert Block.of(Layer("softmax", 16)) == Block((softmax,), "softmax", 1.0, True)
    assert Block.of(Layer("linear", 16)) == Block((linear,), "linear", 0.0, False)
    assert Block.of(Layer("window", 16, 32)) == Block((window,), "window, MLP of 32", 0.0, False)
    assert Block.of(hybrid, 0.034) == Block(both, "hybrid, 3 % softmax, chunks of 16", 0.034, True)
    assert Block.of(hybrid, math.nan) == Block(both, "hybrid, chunks of 16", None, True)
    assert Block.of(hybrid, with_chunk_size=False) == Block(both, "hybrid", None, True)
    assert [Block.of(layer).kind for layer in (Layer("softmax", 16), hybrid)] == ["softmax", "hybrid"]


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
