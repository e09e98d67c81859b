"""What every searcher keeps to, and that those which learn find more than chance does: tests to inherit."""

import math
from random import Random
from statistics import mean

import pytest

from nas.config import EvolutionConfig, OptunaConfig, RandomConfig
from nas.search_spaces.space import Code, Space
from nas.searchers import Excess, Score, Scores, find_searcher
from nas.searchers import draws as draws_module
from tests.nas.searchers.problems import Separable, at_most, best_within, free, space_of


def search(name: str, space: Space, score: Score, excess: Excess, evaluations: int, seed: int) -> Scores:
    settings = {
        "random": RandomConfig("random", evaluations=evaluations, batches=1),
        "evolution": EvolutionConfig("evolution", evaluations=evaluations, batches=1, population=10, sample=3),
        "optuna": OptunaConfig("optuna", evaluations=evaluations, batches=1, sampler="tpe"),
    }[name]
    return find_searcher(name)(space, score, excess, settings, Random(seed))


def found(name: str, space: Space, excess: Excess, evaluations: int, seed: int) -> float:
    return max(search(name, space, Separable(space, seed), excess, evaluations, seed).values())


class Searcher:
    """Tests of any searcher. name: of it."""

    name: str

    @pytest.mark.parametrize("limit", [1, 3])
    def test_it_scores_as_many_as_it_may_each_once_and_within_the_budget(self, limit: int) -> None:
        space, excess = space_of(5, 3), at_most(limit)
        score = Separable(space)
        scores = search(self.name, space, score, excess, 30, seed=0)
        assert len(scores) == 30
        assert score.asked == list(scores), "asked for once, in this order"
        assert all(excess(code) <= 0 for code in scores)
        assert scores == {code: Separable(space)(code) for code in scores}

    def test_a_small_space_is_scored_as_a_whole(self) -> None:
        space, excess = space_of(4, 2), at_most(2)
        within = [code for code in space.codes() if excess(code) <= 0]
        score = Separable(space)
        scores = search(self.name, space, score, excess, 100, seed=1)
        assert len(score.asked) == len(within)
        assert scores.keys() == set(within)
        assert max(scores, key=scores.__getitem__) == best_within(space, Separable(space), excess)

    def test_a_budget_that_nothing_keeps_to_leaves_nothing_scored(self) -> None:
        space = space_of(3, 2)
        score = Separable(space)
        assert search(self.name, space, score, at_most(-1), 10, seed=0) == {}
        assert score.asked == []

    def test_a_space_too_large_to_list_under_a_tight_budget(self) -> None:
        space = space_of(16, 5)
        assert space.size > draws_module.LISTED

        def excess(code: Code) -> float:
            return sum(option != 1 for option in code) - 3.0

        scores = search(self.name, space, Separable(space), excess, 6, seed=0)
        assert len(scores) == 6
        assert all(excess(code) <= 0 for code in scores)

    def test_the_seed_decides_the_search(self) -> None:
        space = space_of(6, 3)
        ways = [list(search(self.name, space, Separable(space), at_most(2), 25, seed)) for seed in (0, 0, 1)]
        assert ways[0] == ways[1]
        assert ways[0] != ways[2]

    def test_what_is_no_candidate_does_not_end_the_search(self) -> None:
        space = space_of(4, 3)
        good = Separable(space)
        scores = search(self.name, space, lambda code: good(code) if code[0] == 1 else -math.inf, free, 40, seed=0)
        assert len(scores) == 40
        assert max(scores, key=scores.__getitem__)[0] == 1


class LearningSearcher(Searcher):
    """Tests of a searcher that learns from scores."""

    @pytest.mark.parametrize("excess", [free, at_most(3)], ids=["no budget", "a budget"])
    def test_it_finds_more_than_random_search_with_as_many_evaluations(self, excess: Excess) -> None:
        space, seeds = space_of(10, 4), range(10)
        theirs = [found("random", space, excess, 60, seed) for seed in seeds]
        own = [found(self.name, space, excess, 60, seed) for seed in seeds]
        assert sum(a > b for a, b in zip(own, theirs, strict=True)) >= 8
        assert mean(own) > mean(theirs) + 0.5, "half a standard deviation of one layer's gain"
