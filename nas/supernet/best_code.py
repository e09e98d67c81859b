"""Select the architecture with the best score whose cost is within a limit or near a target."""

import math
from collections.abc import Sequence

from nas.search_spaces.space import Code

BINS = 10_000
"""Number of steps into which the limit is divided. Costs are rounded down, so that equal parts of the limit fill it."""

NEAREST_BINS = 2_000
"""Number of steps into which the highest cost is divided if costs should come near a target. Costs are rounded."""


def best_code(scores: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], limit: float) -> Code | None:
    """Return the code of highest total score whose total cost is at most ``limit``; None if no code is within it.

    This is a knapsack with one item a layer, solved by dynamic programming over the total cost. It is exact for any
    number of architectures, except that costs are rounded: each layer may exceed the limit by a `BINS`-th part of it.

    Args:
        scores: scores of each layer's options, for example log-probabilities.
        costs: costs of each layer's options, at least 0.
        limit: limit on the sum of costs; infinite for no limit.

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
    """Return the code of highest total score whose total cost is within ``tolerance`` of the target, or the nearest.

    Args:
        scores, costs: as for `best_code`.
        target: target of the sum of costs.
        tolerance: largest distance from the target, above or below.

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
    """Return, for each total cost up to the limit, the highest total score and a code with that score."""
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
    """Return a cost in steps of the limit; more than `BINS` if the cost alone exceeds the limit."""
    if cost <= 0:
        return 0
    return BINS + 1 if cost > limit else int(cost / limit * BINS)
