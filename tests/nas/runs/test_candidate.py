"""One architecture that a searcher scored: its options by name, and what it is chosen by."""

import math

from nas.evaluation.metrics import merit
from nas.runs.candidate import Candidate
from tests.nas.searchers.problems import space_of


def candidate(code: tuple[int, ...], quality: float) -> Candidate:
    return Candidate.named(space_of(2, 3), code, quality, loss=1 / 3, cost=0.7, seconds=0.5)


def test_its_options_are_named_in_the_order_of_layers() -> None:
    assert candidate((2, 1), 0.5).options == ("token_hybrid@4", "linear")


def test_outside_the_budget_no_quality_counts() -> None:
    assert candidate((0, 0), quality=1.0).score("recall", within=True) == merit("recall", 1.0, 1 / 3)
    assert candidate((0, 0), quality=1.0).score("recall", within=False) == -math.inf
