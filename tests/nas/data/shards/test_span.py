"""Tokens of several shards as one sequence, and where documents begin."""

from pathlib import Path

import numpy as np
import pytest

from nas.data.shards.span import Shard, Span
from nas.errors import UserError

PATH = Path("shard")
FIRST = np.array([1, 1, 9, 2, 9], dtype=np.uint16)
SECOND = np.array([3, 3, 3, 9], dtype=np.uint16)
BEGINS = [True, False, False, True, False, True, False, False, False]


@pytest.fixture(params=["by the end token", "by starts"])
def span(request: pytest.FixtureRequest) -> Span:
    if request.param == "by starts":
        return Span([Shard(PATH, FIRST, np.array([0, 3])), Shard(PATH, SECOND, np.array([0]))])
    return Span([Shard(PATH, FIRST, end=9), Shard(PATH, SECOND, end=9)])


def test_tokens_and_documents_run_over_the_ends_of_shards(span: Span) -> None:
    every = [*FIRST, *SECOND]
    assert len(span) == 9
    for start in range(9):
        for stop in range(start, 10):
            assert span.tokens(start, stop).tolist() == every[start:stop]
            assert span.begins(start, stop).tolist() == BEGINS[start:stop]
    assert span.tokens(7, 20).tolist() == [3, 9], "what is left"
    assert span.tokens(0, 9).dtype == np.int64


def test_a_part_knows_nothing_of_the_rest(span: Span) -> None:
    part = span.cut(2, 8).cut(1, 5)
    assert len(part) == 4
    assert part.tokens(0, 9).tolist() == [2, 9, 3, 3]
    assert part.begins(0, 9).tolist() == BEGINS[3:7]


def test_a_border_is_where_the_next_document_begins(span: Span) -> None:
    assert [span.border(near) for near in range(9)] == [0, 3, 3, 3, 5, 5, 6, 7, 8]


def test_a_border_leaves_half_of_the_tokens_behind_it() -> None:
    span = Span([Shard(PATH, np.zeros(100, dtype=np.uint16), np.array([0, 20, 70, 98]))])
    assert [span.border(near) for near in (40, 39, 60, 90)] == [70, 39, 70, 90]


def test_tokens_of_no_document_have_no_border() -> None:
    span = Span([Shard(PATH, FIRST)])
    assert span.begins(0, 5).tolist() == [True, False, False, False, False]
    assert span.border(2) == 2
    assert not span.divided
    assert len(Span([])) == 0


@pytest.mark.parametrize("starts", [[0, 200, 9, 60], [0, 90, 30, 95]], ids=str)
def test_starts_out_of_order_are_refused(starts: list[int]) -> None:
    span = Span([Shard(PATH, np.zeros(100, dtype=np.uint16), np.array(starts))])
    with pytest.raises(UserError, match=r"shard has an index that is damaged: its documents are not in order"):
        [span.begins(start, min(start + 50, 100)) for start in range(100)]
