"""Random search: the baseline of every other searcher (Li & Talwalkar 2019)."""

from random import Random

from nas.config import RandomConfig
from nas.search_spaces.space import Space
from nas.searchers.draws import Draws, Excess, Score, Scores


def random_search(space: Space, score: Score, excess: Excess, settings: RandomConfig, random: Random) -> Scores:
    """Score architectures that are drawn uniformly within the budget, each once."""
    draws, scores = Draws(space, excess, random), Scores()
    while len(scores) < settings.evaluations and (code := draws.fresh(scores)) is not None:
        scores[code] = score(code)
    return scores
