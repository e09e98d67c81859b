"""Draws: uniform within the budget, never twice, in spaces that can be listed and in those that cannot."""

from collections import Counter
from random import Random

import pytest

from nas.search_spaces.space import Code
from nas.searchers import draws as module
from nas.searchers.draws import Draws
from tests.nas.searchers.problems import at_most, free, space_of


@pytest.fixture(params=["listed", "too many to list"])
def listed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param != "listed":
        monkeypatch.setattr(module, "LISTED", 0)
    return request.param == "listed"


def test_fresh_is_uniform_over_what_is_within_the_budget(listed: bool) -> None:
    space, excess = space_of(3, 3), at_most(1)
    within = [code for code in space.codes() if excess(code) <= 0]
    made = Draws(space, excess, Random(0))
    counts = Counter(made.fresh(()) for _ in range(200 * len(within)))
    assert counts.keys() == set(within)
    chi_squared = sum((counts[code] - 200) ** 2 / 200 for code in within)
    assert chi_squared < 45  # 19 degrees of freedom: beyond that with a probability under 0.1 %


def test_fresh_draws_everything_within_the_budget_once_and_then_none(listed: bool) -> None:
    space, excess, known = space_of(4, 3), at_most(1), dict[Code, float]()
    made = Draws(space, excess, Random(1))
    while (code := made.fresh(known)) is not None:
        assert code not in known
        known[code] = 0.0
    assert known.keys() == {code for code in space.codes() if excess(code) <= 0}


def test_a_budget_that_hardly_anything_keeps_to_is_met_by_mutation() -> None:
    space = space_of(24, 5)
    allowed = at_most(2, option=4)

    def excess(code: Code) -> float:  # a draw is within with a probability of 0.2 ** 22
        return sum(option != 1 for option in code) - 2 + max(0.0, allowed(code))

    made, known = Draws(space, excess, Random(2)), dict[Code, float]()
    for _ in range(20):
        code = made.fresh(known)
        assert code is not None
        assert excess(code) <= 0
        assert code not in known
        known[code] = 0.0


def test_there_is_none_where_nothing_is_within_the_budget(listed: bool) -> None:
    made = Draws(space_of(3, 2), at_most(-1), Random(3))
    assert made.fresh(()) is None
    assert made.near((0, 0, 0), ()) is None


def test_near_is_one_mutation_away_where_that_is_allowed_and_new(listed: bool) -> None:
    space = space_of(4, 3)
    made = Draws(space, free, Random(4))
    code = (0, 1, 2, 0)
    found = {made.near(code, ()) for _ in range(300)}
    assert found == {other for other in space.codes() if sum(a != b for a, b in zip(code, other, strict=True)) == 1}


def test_near_goes_further_where_neighbours_are_known_or_too_dear(listed: bool) -> None:
    space, excess = space_of(4, 2), at_most(1)
    code = (0, 1, 1, 1)
    assert Draws(space, excess, Random(5)).near(code, ()) in {(1, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)}
    known = {code, (1, 1, 1, 1)}
    found = {Draws(space, excess, Random(seed)).near(code, known) for seed in range(50)}
    assert found == {(1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)}, "it moves the softmax layer"
    assert Draws(space, excess, Random(5)).near(code, known | found) is None
