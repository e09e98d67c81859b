"""What a search by successive halving costs."""

import pytest

from experiments.halving import search_steps
from nas.errors import UserError
from tests.nas.commands import SMALL

LAYERS = (*SMALL, "+space=layer_hybrid", "model.layers=4", "space.operations=[softmax,linear]", "trainer.steps=100")
HALVING = (*LAYERS, "budget=softmax_share", "searcher=halving")
"""By default eight candidates to half of the steps, and one in three of them to the end."""


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("budget.target=1",), 8 * 50 + 2 * 50),
        (("budget.target=0.25",), 5 * 50 + 50),
        (("budget.target=0.25", "searcher.evaluations=4", "searcher.reduction_factor=2"), 4 * 50 + 2 * 50),
        (("budget.target=0.01",), 100),
        (("budget.target=0.25", "budget.exact=true", "searcher.first_rung=0.1"), 4 * 10 + 90),
    ],
    ids=["eight of sixteen", "all five within the budget", "four of five", "one alone", "exactly at the budget"],
)
def test_only_candidates_within_the_budget_cost_steps(options: tuple[str, ...], steps: int) -> None:
    assert search_steps(*HALVING, *options) == steps


def test_a_budget_that_nothing_meets_is_refused() -> None:
    with pytest.raises(UserError, match=r"budget.target=1 cannot be met"):
        search_steps(*LAYERS, "budget=kv_bytes", "budget.target=1", "searcher=halving")
