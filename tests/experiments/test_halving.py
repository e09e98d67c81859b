"""What a search costs, from its options alone."""

import pytest

from experiments.halving import search_steps
from nas.errors import UserError
from tests.nas.commands import SMALL

LAYERS = (*SMALL, "+space=layer_hybrid", "model.layers=4", "space.operations=[softmax,linear]", "trainer.steps=100")


def test_a_search_costs_the_steps_of_its_candidates() -> None:
    assert search_steps(*LAYERS, "budget=softmax_share", "budget.target=0.25", "searcher=halving") == 5 * 50 + 50


def test_a_budget_that_nothing_meets_is_refused() -> None:
    with pytest.raises(UserError, match=r"budget.target=1 cannot be met"):
        search_steps(*LAYERS, "budget=kv_bytes", "budget.target=1", "searcher=halving")
