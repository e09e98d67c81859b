"""Searchers that score with shared weights: they propose architectures of a space and learn from their scores.

All are functions of the same signature, so that they can be compared at an equal number of evaluations:

    (space, score, excess, settings, random) -> {code: score}, in the order of scoring

``score`` is expensive: a searcher calls it once for each architecture, at most ``settings.evaluations`` times. Larger
scores are better; minus infinity means that the architecture cannot be selected. ``excess`` is fast: a searcher scores
only architectures for which it is at most 0. All random numbers come from ``random``, so that the seed determines the
search. A search that is started again with stored scores therefore proposes the same architectures.
"""

from nas.searchers.check import GRADIENT, HALVING, SEARCHERS, check_searcher, find_searcher
from nas.searchers.draws import Excess, Score, Scores

__all__ = ["GRADIENT", "HALVING", "SEARCHERS", "Excess", "Score", "Scores", "check_searcher", "find_searcher"]
