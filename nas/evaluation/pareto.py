"""The Pareto front of points with several losses."""

from collections.abc import Sequence


def front(losses: Sequence[Sequence[float]]) -> list[int]:
    """Return the indices of the Pareto front, ascending.

    A point is on the front if no other point is lower in one loss and at most as high in all others. Points that are
    equal in all losses are on the front together.

    Args:
        losses: losses of each point, the same number for each point. Smaller is better, and no loss is nan.
    """
    found: list[int] = []
    for index in sorted(range(len(losses)), key=lambda index: tuple(losses[index])):
        mine = tuple(losses[index])  # a point that dominates it comes earlier in this order
        if not any(_dominates(tuple(losses[other]), mine) for other in found):
            found.append(index)
    return sorted(found)


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(mine <= other for mine, other in zip(a, b, strict=True))
