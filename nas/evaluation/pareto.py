"""Which of several points are worth having where more than one thing counts."""

from collections.abc import Sequence


def front(losses: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the Pareto front, ascending: the points to which no other is better in one loss and at least as good
    in all. Points that are equal in all losses are on it together.

    Args:
        losses: of each point, as many everywhere, each so that smaller is better; none nan.
    """
    found: list[int] = []
    for index in sorted(range(len(losses)), key=lambda index: tuple(losses[index])):
        mine = tuple(losses[index])  # whoever is better stands before it
        if not any(_dominates(tuple(losses[other]), mine) for other in found):
            found.append(index)
    return sorted(found)


def _dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(mine <= other for mine, other in zip(a, b, strict=True))
