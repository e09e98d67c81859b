"""From scores of options to one architecture: the best whose cost is within a limit, or at a target."""

import math
from collections.abc import Sequence

from nas.search_spaces.space import Code

BINS = 10_000
"""Steps of the limit in which costs are counted, each option's rounded down: equal parts of the limit still fill it."""

NEAREST_BINS = 2_000
"""Steps of the dearest cost in which costs are counted, each option's rounded, where they are to come near a target."""


def best_code(scores: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], limit: float) -> Code | None:
    """The code of highest total score whose total cost is at most ``limit``; None where there is none.

    A knapsack with one item a layer, by dynamic programming over the cost spent so far: however many architectures
    there are, exact up to the rounding of costs, by which a limit may be exceeded by a `BINS`-th part of it a layer.

    Args:
        scores: of each layer's options, for example log-probabilities.
        costs: of each layer's options, from 0 on.
        limit: on the sum of costs; infinite for none.

    >>> best_code([[1.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], limit=1.0)
    (1, 0)
    """
    if limit < 0:
        return None
    found = _best_by_cost(scores, [[_bins(cost, limit) for cost in options] for options in costs], BINS)
    return max(found.values(), key=lambda entry: entry[0], default=(0.0, None))[1]


def nearest_code(
    scores: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], target: float, tolerance: float
) -> Code:
    """The code of highest total score whose total cost is within ``tolerance`` of the target; else the nearest.

    Args:
        scores, costs: as for `best_code`.
        target: of the sum of costs.
        tolerance: in either direction.

    >>> nearest_code([[1.0, 0.0], [3.0, 0.0]], [[1.0, 0.0], [2.0, 0.0]], target=2.2, tolerance=0.5)
    (1, 0)
    """
    step = sum(map(max, costs)) / NEAREST_BINS or 1.0
    found = _best_by_cost(scores, [[round(cost / step) for cost in options] for options in costs])
    off = {spent: max(0.0, abs(spent * step - target) - tolerance) for spent in found}
    least = min(off.values())
    return max((entry for spent, entry in found.items() if off[spent] == least), key=lambda entry: entry[0])[1]


def _best_by_cost(
    scores: Sequence[Sequence[float]], costs: Sequence[Sequence[int]], limit: float = math.inf
) -> dict[int, tuple[float, Code]]:
    """For every total cost up to the limit: the highest total score, and a code that has it."""
    best: dict[int, tuple[float, Code]] = {0: (0.0, ())}
    for own_scores, own_costs in zip(scores, costs, strict=True):
        found: dict[int, tuple[float, Code]] = {}
        for spent, (score, code) in best.items():
            for option, (gain, cost) in enumerate(zip(own_scores, own_costs, strict=True)):
                total = spent + cost
                if total <= limit and (total not in found or score + gain > found[total][0]):
                    found[total] = (score + gain, (*code, option))
        best = found
    return best


def _bins(cost: float, limit: float) -> int:
    """A cost in steps of the limit; more than `BINS` if it alone is over it."""
    if cost <= 0:
        return 0
    return BINS + 1 if cost > limit else int(cost / limit * BINS)
