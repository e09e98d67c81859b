"""Searchers beside gradient descent: they propose architectures of a space and learn from how those score.

Each is one function of one shape, so that they can be compared at an equal number of evaluations:

    (space, score, excess, settings, random) -> {code: score}, in the order in which they were scored

``score`` is what takes time: a searcher asks for it once an architecture, ``settings.evaluations`` times at the most.
Larger is better, and minus infinity is no candidate. ``excess`` takes none: only what it puts at 0 or below is scored.
Everything random comes from ``random``, so that a seed decides the search, and a search that is begun again with scores
that are remembered takes the same way.
"""

from nas.searchers.check import GRADIENT, SEARCHERS, check_searcher, find_searcher
from nas.searchers.draws import Excess, Score, Scores

__all__ = ["GRADIENT", "SEARCHERS", "Excess", "Score", "Scores", "check_searcher", "find_searcher"]
