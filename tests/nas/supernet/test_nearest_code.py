"""From scores to the architecture nearest a cost, against brute force over all codes."""

import itertools
import random

import pytest

from nas.search_spaces.space import Code
from nas.supernet.best_code import NEAREST_BINS, nearest_code

LAYERS = 4


def drawn(seed: int) -> tuple[list[list[float]], list[list[float]]]:
    """Scores and costs of two to four options in each layer; the dearest architecture costs about 1."""
    source = random.Random(seed)
    counts = [source.randint(2, 4) for _ in range(LAYERS)]
    scores = [[source.gauss(0, 1) for _ in range(count)] for count in counts]
    return scores, [[source.random() / LAYERS for _ in range(count)] for count in counts]


def total(values: list[list[float]], code: Code) -> float:
    return sum(own[option] for own, option in zip(values, code, strict=True))


def codes(scores: list[list[float]]) -> list[Code]:
    return list(itertools.product(*(range(len(own)) for own in scores)))


@pytest.mark.parametrize("target", [0.0, 0.3, 0.45, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_near_a_target_or_the_nearest(seed: int, target: float) -> None:
    scores, costs = drawn(seed)
    rounding, tolerance = LAYERS / NEAREST_BINS, 0.02

    def off(code: Code) -> float:
        return max(0.0, abs(total(costs, code) - target) - tolerance)

    found = nearest_code(scores, costs, target, tolerance)
    least = min(map(off, codes(scores)))
    assert off(found) <= least + rounding
    surely = [code for code in codes(scores) if least == 0 and abs(total(costs, code) - target) < tolerance - rounding]
    assert not surely or total(scores, found) >= max(total(scores, code) for code in surely)


def test_options_that_all_cost_nothing_are_chosen_by_score() -> None:
    assert nearest_code([[0.0, 1.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]], 0.0, 0.02) == (1, 0)
