"""Regularised evolution: who is a parent, and who dies."""

from random import Random

from nas.config import EvolutionConfig
from nas.search_spaces.space import Code
from nas.searchers.evolution import evolution
from tests.nas.searchers.contract import LearningSearcher
from tests.nas.searchers.problems import Separable, free, space_of


class TestEvolution(LearningSearcher):
    name = "evolution"


def differing(one: Code, other: Code) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def test_children_are_mutations_of_living_members_and_the_oldest_dies() -> None:
    space, population = space_of(24, 5), 6
    settings = EvolutionConfig("evolution", evaluations=106, batches=1, population=population, sample=3)
    scored = list(evolution(space, Separable(space), free, settings, Random(0)))
    distances = [
        min(differing(scored[index], member) for member in scored[index - population : index])
        for index in range(population, len(scored))
    ]
    assert distances.count(1) >= 90
    assert max(distances) <= 3, "further only where the first mutation had been scored"


def test_with_a_sample_of_one_nothing_is_selected() -> None:
    """Drift: the mean of the last is no better than that of the first, while tournaments make it so."""
    gains = []
    for sample in (1, 10):
        means = []
        for seed in range(5):
            space = space_of(10, 4)
            settings = EvolutionConfig("evolution", evaluations=100, batches=1, population=10, sample=sample)
            scores = list(evolution(space, Separable(space, seed), free, settings, Random(seed)).values())
            means.append(sum(scores[-20:]) / 20 - sum(scores[:10]) / 10)
        gains.append(sum(means) / len(means))
    assert abs(gains[0]) < 2.0
    assert gains[1] > 4.0
