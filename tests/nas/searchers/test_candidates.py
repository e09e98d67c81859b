"""Candidates in a run folder: kept, read again as they were, ranked within the budget."""

import json
import math
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.runs.folder import Run
from nas.search_spaces.space import Space
from nas.searchers.candidates import Candidate, Candidates
from tests.nas.searchers.problems import space_of

SPACE = space_of(2, 3)


def candidate(code: tuple[int, ...], quality: float = 0.1 + 0.2, loss: float = 1 / 3, cost: float = 0.7) -> Candidate:
    return Candidate.named(SPACE, code, quality, loss, cost, seconds=0.5)


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = [
        candidate((0, 1)),
        candidate((2, 2), quality=math.nan, loss=math.nan, cost=math.nan),
        candidate((1, 0), cost=1e-17),
    ]
    first = Candidates(Run(tmp_path), SPACE)
    for one in written:
        first.add(one)
    again = Candidates(Run(tmp_path), SPACE)
    assert len(again) == 3
    assert list(map(repr, again)) == list(map(repr, written)), "to the last digit, and in order"
    assert again.get((0, 1)) == written[0]
    assert again.get((0, 0)) is None


def test_people_can_read_them(tmp_path: Path) -> None:
    Candidates(Run(tmp_path), SPACE).add(candidate((2, 1)))
    (entry,) = json.loads((tmp_path / "candidates.json").read_text())
    assert entry == {
        "code": [2, 1],
        "options": ["token_hybrid@4", "linear"],
        "quality": 0.1 + 0.2,
        "loss": 1 / 3,
        "cost": 0.7,
        "seconds": 0.5,
    }


@pytest.mark.parametrize(
    "content",
    ["", "{", "[1]", '[{"code": [0, 1]}]', '{"code": 3}', '[{"code": [0, 9], "quality": 1, "loss": 1, "cost": 1}]'],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "candidates.json").write_text(content)
    with pytest.raises(UserError, match=r"candidates.json is damaged; delete it to score its candidates again"):
        Candidates(Run(tmp_path), SPACE)


def test_those_of_another_space_are_refused(tmp_path: Path) -> None:
    Candidates(Run(tmp_path), SPACE).add(candidate((2, 1)))
    other: Space = space_of(3, 3)
    with pytest.raises(UserError, match="damaged"):
        Candidates(Run(tmp_path), other)
