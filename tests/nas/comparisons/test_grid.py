"""The grid of learning rates: the lengths at which they are compared, and rates beyond its ends."""

import math
from types import SimpleNamespace

import pytest

from nas.comparisons.grid import best, grow, tuning_factors
from nas.data.recall import Recall
from nas.errors import UserError
from tests.nas.commands import SMALL, composed


@pytest.mark.parametrize(
    ("factors", "given", "chosen"),
    [("[1,4,16,64]", "null", [1, 16]), ("[1,32]", "null", [1]), ("[1,4]", "[4,2]", [2, 4])],
)
def test_rates_are_compared_at_the_training_length_and_the_longest_cheap_one(
    factors: str, given: str, chosen: list[int]
) -> None:
    config = composed("compare", *SMALL, f"data.length_factors={factors}", f"tuning_factors={given}")
    assert tuning_factors(config, Recall) == chosen  # type: ignore[arg-type]


def test_a_task_without_longer_selection_batches_is_tuned_at_its_length() -> None:
    theirs = SimpleNamespace(selection_batches=lambda count: [])
    config = composed("compare", *SMALL, "data.length_factors=[1,4]")
    assert tuning_factors(config, theirs) == [1]  # type: ignore[arg-type]
    config.tuning_factors = [1, 4]
    with pytest.raises(UserError, match=r"tuning_factors=\[1, 4\] is not allowed for data=recall, whose selection"):
        tuning_factors(config, theirs)  # type: ignore[arg-type]
    config.tuning_factors = []
    with pytest.raises(UserError, match=r"tuning_factors=\[\] is not allowed; give one or more"):
        tuning_factors(config, theirs)  # type: ignore[arg-type]


def test_a_grid_grows_at_the_end_that_is_best_until_it_is_inside() -> None:
    def merit(rate: float) -> float:
        return -abs(math.log(rate / 0.05))

    assert grow([0.001, 0.003, 0.01], merit, 4) == ([0.001, 0.003, 0.01, 0.033, 0.11], True)
    assert grow([0.001, 0.003, 0.01], merit, 1) == ([0.001, 0.003, 0.01, 0.033], True)
    assert grow([0.01, 0.03, 0.1], merit, 4) == ([0.01, 0.03, 0.1], True)
    assert grow([0.01], merit, 4) == ([0.01], True)
    assert grow([1.0, 8.0], lambda rate: rate, 4) == ([1.0, 8.0], True), "no rate above 10"
    assert grow([0.01, 0.1], lambda rate: None if rate < 0.1 else 1.0, 4) == ([0.01, 0.1], False)
    assert best({0.1: -math.inf, 0.01: -math.inf}) == 0.01
