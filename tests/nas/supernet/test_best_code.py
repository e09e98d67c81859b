"""From scores to one architecture within a limit or near a target, against trying all of them."""

import math
from itertools import product
from random import Random

import pytest

from nas.search_spaces.space import Code
from nas.supernet.best_code import BINS, NEAREST_BINS, best_code, nearest_code

Table = list[list[float]]
LAYERS = 4


def total(table: Table, code: Code) -> float:
    return sum(options[option] for options, option in zip(table, code, strict=True))


def by_trying(scores: Table, costs: Table, limit: float) -> float | None:
    """The highest score of any code within the limit."""
    codes = product(*map(range, map(len, scores)))
    return max((total(scores, code) for code in codes if total(costs, code) <= limit), default=None)


def drawn(random: Random, layers: int) -> tuple[Table, Table]:
    counts = [random.randint(1, 4) for _ in range(layers)]
    scores, costs = (
        [[draw() for _ in range(n)] for n in counts] for draw in (lambda: random.gauss(0, 1), random.random)
    )
    return scores, costs


@pytest.mark.parametrize("seed", range(60))
def test_it_is_the_best_of_all_within_the_limit(seed: int) -> None:
    random = Random(seed)
    scores, costs = drawn(random, layers=random.randint(1, 6))
    limit = random.uniform(0.0, 0.8) * len(scores)
    code = best_code(scores, costs, limit)
    best = by_trying(scores, costs, limit)
    rounding = limit * len(scores) / BINS
    if code is None:
        assert best is None
        return
    assert total(costs, code) <= limit + rounding
    roomier = by_trying(scores, costs, limit + rounding)
    assert roomier is not None
    assert best is None or best <= total(scores, code)
    assert total(scores, code) <= roomier


@pytest.mark.parametrize("layers", [3, 7, 24, 48])
@pytest.mark.parametrize("allowed", [1, 2, 3])
def test_equal_costs_that_fill_the_limit_exactly_fit(layers: int, allowed: int) -> None:
    """As 1/3 + 1/3 + 1/3 that is not 1 in binary: rounding must not cost a layer."""
    scores = [[float(layer), 0.0] for layer in range(1, layers + 1)]
    costs = [[1 / layers, 0.0] for _ in range(layers)]
    code = best_code(scores, costs, allowed / layers)
    assert code == (1,) * (layers - allowed) + (0,) * allowed


def test_nothing_fits_where_the_cheapest_is_over_the_limit() -> None:
    assert best_code([[1.0, 0.0]] * 2, [[3.0, 2.0]] * 2, limit=3.9) is None
    assert best_code([[1.0, 0.0]] * 2, [[3.0, 2.0]] * 2, limit=4.0) == (1, 1)
    assert best_code([[1.0]], [[0.0]], limit=-0.1) is None


def test_a_limit_of_zero_leaves_what_costs_nothing() -> None:
    assert best_code([[9.0, 1.0, 2.0]] * 2, [[1e-9, 0.0, 0.0]] * 2, limit=0.0) == (2, 2)


def test_without_a_limit_each_layer_takes_its_best() -> None:
    random = Random(0)
    scores, costs = drawn(random, layers=8)
    assert best_code(scores, costs, math.inf) == tuple(options.index(max(options)) for options in scores)


def test_many_layers_and_options_are_no_matter() -> None:
    """7 options in each of 24 layers are 2e20 architectures; one cost for every mutation makes the answer known."""
    random = Random(1)
    gains = [random.random() for _ in range(24)]
    scores = [[0.0] * 6 + [gain] for gain in gains]
    code = best_code(scores, [[0.0] * 6 + [1.0]] * 24, limit=5.0)
    assert code is not None
    assert {layer for layer, option in enumerate(code) if option == 6} == set(
        sorted(range(24), key=gains.__getitem__)[-5:]
    )


def drawn_near_one(seed: int) -> tuple[Table, Table]:
    """Scores and costs of two to four options in each layer; the most expensive architecture costs about 1."""
    source = Random(seed)
    counts = [source.randint(2, 4) for _ in range(LAYERS)]
    scores = [[source.gauss(0, 1) for _ in range(count)] for count in counts]
    return scores, [[source.random() / LAYERS for _ in range(count)] for count in counts]


def codes(scores: Table) -> list[Code]:
    return list(product(*(range(len(own)) for own in scores)))


@pytest.mark.parametrize("target", [0.0, 0.3, 0.45, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_near_a_target_or_the_nearest(seed: int, target: float) -> None:
    scores, costs = drawn_near_one(seed)
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
