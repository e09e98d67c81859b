"""The cheapest of the architectures that are as good as the best one, up to the noise of their scores."""

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev

from nas.evaluation.noise import RESOLUTION
from nas.runs.candidate import Candidate
from nas.search_spaces.space import Code


def cheapest(
    candidates: Iterable[Candidate],
    best: Candidate,
    tolerance: float,
    by_sequence: Callable[[Code], Sequence[float]],
    higher: bool,
) -> Candidate:
    """Return the cheapest candidate that is worse than the best one by at most the tolerance.

    The best score of many is partly luck, and a cost is not. This is the rule of one standard error (Breiman et al.
    1984, section 3.4.3) with the error of the paired difference, since all candidates have the same sequences.

    Args:
        candidates: candidates within the budget.
        best: the candidate with the best score.
        tolerance: largest mean difference, in standard errors of the mean of the differences by sequence.
        by_sequence: quality of a candidate on each sequence; called from the cheapest on, until one is good enough.
        higher: whether a higher quality is better.
    """
    cheaper = sorted((one for one in candidates if one.cost < best.cost), key=lambda one: one.cost)
    for candidate in cheaper:
        pairs = zip(by_sequence(best.code), by_sequence(candidate.code), strict=True)
        worse = [(one - other) * (1 if higher else -1) for one, other in pairs]
        error = max(stdev(worse), RESOLUTION) / math.sqrt(len(worse))
        if fmean(worse) <= tolerance * error:
            return candidate
    return best
