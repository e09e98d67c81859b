"""Bounds of numeric options: allowed numbers, and the advice for others."""

import math

import pytest

from nas.search_spaces.options import Bounds


@pytest.mark.parametrize(
    ("bounds", "allowed", "refused", "advice"),
    [
        (Bounds(at_least=1), [1, 10**400], [0, -5], "give 1 or more"),
        (Bounds(at_least=0), [0.0, 1e300], [-1e-9], "give 0 or more"),
        (Bounds(above=0), [1e-9, 5], [0, -1.0], "give a number over 0"),
        (Bounds(at_least=0, at_most=1), [0, 0.5, 1], [-0.1, 1.1], "give a number from 0 to 1"),
        (Bounds(at_least=0, below=1), [0, 0.999], [-0.1, 1], "give a number from 0 to below 1"),
        (Bounds(above=0, at_most=1), [0.1, 1], [0, 1.1], "give a number over 0 and at most 1"),
        (Bounds(above=0, below=1), [0.1], [0, 1], "give a number over 0 and below 1"),
        (Bounds(at_least=1, ceiling=10), [1, 10], [11, 0], "give at most 10"),
        (Bounds(at_least=1, ceiling=10), [1, 10], [0, 11], "give 1 or more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bounds_allow_the_numbers_within_them(
    bounds: Bounds, allowed: list[float], refused: list[float], advice: str
) -> None:
    assert all(bounds.allow(number) for number in allowed)
    assert not any(bounds.allow(number) for number in (*refused, math.nan, math.inf, -math.inf))
    assert bounds.advice(refused[0]) == advice


@pytest.mark.parametrize(
    "ends", [{}, {"at_most": 1}, {"at_least": 0, "above": 0}, {"above": 0, "at_most": 1, "below": 2}]
)
def test_bounds_have_one_lower_end_and_at_most_one_upper_end(ends: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="one lower end"):
        Bounds(**ends)
