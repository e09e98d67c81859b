"""Regularised evolution: tournaments in a population that drops its oldest member (Real et al. 2019, algorithm 1)."""

from collections import deque
from random import Random

from nas.config import EvolutionConfig
from nas.search_spaces.space import Code, Space
from nas.searchers.draws import Draws, Excess, Score, Scores


def evolution(space: Space, score: Score, excess: Excess, settings: EvolutionConfig, random: Random) -> Scores:
    """Score ``settings.population`` random architectures, then children of the best of ``settings.sample`` members.

    As in the paper, the sample is drawn with replacement, and every child replaces the oldest member, whatever their
    scores. Unlike in the paper, a child must be within the budget and not scored before, since the same weights would
    give the same score again. If one mutation does not lead to such a child, it is mutated further.
    """
    draws, scores = Draws(space, excess, random), Scores()
    population: deque[Code] = deque(maxlen=settings.population)  # a full one drops its oldest
    while len(scores) < settings.evaluations:
        if len(population) < settings.population:
            code = draws.fresh(scores)
        else:
            sample = [random.choice(population) for _ in range(settings.sample)]
            code = draws.near(max(sample, key=scores.__getitem__), scores)
        if code is None:
            break
        scores[code] = score(code)
        population.append(code)
    return scores
