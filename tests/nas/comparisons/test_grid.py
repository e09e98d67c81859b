"""The grid of learning rates: rates beyond its ends."""

import math

from nas.comparisons.grid import best, grow


def test_a_grid_grows_at_the_end_that_is_best_until_it_is_inside() -> None:
    def merit(rate: float) -> float:
        return -abs(math.log(rate / 0.05))

    assert grow([0.001, 0.003, 0.01], merit, 4) == ([0.001, 0.003, 0.01, 0.033, 0.11], True)
    assert grow([0.001, 0.003, 0.01], merit, 1) == ([0.001, 0.003, 0.01, 0.033], True)
    assert grow([0.01, 0.03, 0.1], merit, 4) == ([0.01, 0.03, 0.1], True)
    assert grow([0.01], merit, 4) == ([0.01], True)
    assert grow([1.0, 8.0], lambda rate: rate, 4) == ([1.0, 8.0], True), "no rate above 10"
    assert grow([0.01, 0.1], lambda rate: None if rate < 0.1 else 1.0, 4) == ([0.01, 0.1], False)
    assert best({0.1: -math.inf, 0.01: -math.inf}) == 0.01
