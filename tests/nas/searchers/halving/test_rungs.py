"""At which step how many candidates go on, and how many steps that takes."""

import pytest

from nas.searchers.halving.rungs import Rung, rungs, training_steps
from tests.nas.commands import SMALL, composed


@pytest.mark.parametrize(
    ("first", "factor", "count", "expected"),
    [
        (0.5, 3, 8, [(50, 2), (100, 1)]),
        (0.25, 2, 8, [(25, 4), (50, 2), (100, 1)]),
        (0.1, 3, 20, [(10, 6), (30, 2), (90, 1), (100, 1)]),
        (0.1, 100, 20, [(10, 1), (100, 1)]),
        (1.0, 3, 5, [(100, 1)]),
        (0.001, 4, 3, [(1, 1), (100, 1)]),
        (0.5, 3, 1, [(100, 1)]),
    ],
)
def test_each_rung_keeps_one_in_so_many(
    first: float, factor: float, count: int, expected: list[tuple[int, int]]
) -> None:
    config = composed("search", "+space=joint", *SMALL, "searcher=halving").searcher
    config.first_rung, config.reduction_factor = first, factor
    assert [tuple(rung) for rung in rungs(config, count, 100)] == expected


@pytest.mark.parametrize(
    ("plan", "count", "steps"),
    [
        ([(100, 1)], 1, 100),
        ([(50, 2), (100, 1)], 8, 8 * 50 + 2 * 50),
        ([(50, 1), (100, 1)], 5, 5 * 50 + 50),
        ([(10, 6), (30, 2), (90, 1), (100, 1)], 20, 20 * 10 + 6 * 20 + 2 * 60 + 10),
    ],
)
def test_the_steps_of_all_candidates_are_those_between_rungs(
    plan: list[tuple[int, int]], count: int, steps: int
) -> None:
    assert training_steps([Rung(*rung) for rung in plan], count) == steps
