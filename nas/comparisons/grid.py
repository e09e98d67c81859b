"""The grid of learning rates, and how it grows."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

HIGHEST = 10.0
"""Largest learning rate that the grid may grow to, as for the option `trainer.learning_rate`."""
OVER_SEEDS: dict[str, Callable[[Sequence[float]], float]] = {"worst": min, "mean": fmean}
"""The merit of a learning rate from its merits by tuning seed, by value of the option `tuned_by`."""


def grow(rates: Sequence[float], merit: Callable[[float], float | None], most: int) -> tuple[list[float], bool]:
    """Return the rates to try, and whether the merits of all of them are known.

    While the best rate is an end of the grid, the next rate beyond this end is added, by the ratio of the two rates at
    this end. A grid whose rates all diverge grows downwards only.

    Args:
        rates: the given grid, ascending.
        merit: returns the merit of a rate; None if it is not known yet.
        most: largest number of rates to add at each end.
    """
    grid, added = list(rates), {0: 0, -1: 0}
    while True:
        merits = {rate: merit(rate) for rate in grid}
        known = {rate: value for rate, value in merits.items() if value is not None}
        if len(known) < len(grid):
            return grid, False
        end = {grid[0]: 0, grid[-1]: -1}.get(best(known))
        if len(grid) < 2 or end is None or added[end] == most or (rate := _beyond(grid, end)) > HIGHEST:
            return grid, True
        added[end] += 1
        grid = sorted([*grid, rate])


def best(merits: Mapping[float, float]) -> float:
    """Return the rate with the highest merit, the smallest of equals.

    >>> best({0.01: 0.5, 0.001: 0.5, 0.1: 0.4})
    0.001
    """
    return max(merits, key=lambda rate: (merits[rate], -rate))


def at_end(tried: Mapping[float, float], rate: float) -> str | None:
    """Return the end of the tried rates at which a rate is, "smallest" or "largest"; None if it is at neither.

    >>> at_end({0.01: 0.5, 0.1: 0.4}, 0.01), at_end({0.01: 0.5}, 0.01)
    ('smallest', None)
    """
    if len(tried) < 2:
        return None
    return {min(tried): "smallest", max(tried): "largest"}.get(rate)


def _beyond(grid: Sequence[float], end: int) -> float:
    """Return the next rate beyond an end of the grid, 0 or -1, to two digits.

    >>> _beyond([0.001, 0.003, 0.01], -1), _beyond([0.001, 0.003, 0.01], 0)
    (0.033, 0.00033)
    """
    below, above = list(pairwise(grid))[end]
    return float(f"{above * above / below if end else below * below / above:.2g}")
