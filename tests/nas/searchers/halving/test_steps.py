"""The training steps of a whole search."""

import pytest

from nas.config import SearchConfig
from nas.pretrained.stock import build_space
from nas.searchers.halving.steps import search_steps
from tests.nas.commands import SMALL, composed

LAYERS = (*SMALL, "+space=layer_hybrid", "model.layers=4", "space.operations=[softmax,linear]", "trainer.steps=100")


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (("budget.target=1",), 8 * 50 + 2 * 50),
        (("budget.target=0.25",), 5 * 50 + 50),
        (("budget.target=0.25", "searcher.evaluations=4", "searcher.reduction_factor=2"), 4 * 50 + 2 * 50),
        (("budget.target=0.01",), 100),
        (("budget.target=0.25", "budget.exact=true", "searcher.first_rung=0.1"), 4 * 10 + 90),
        (("budget.target=0.25", "searcher=evolution"), 100),
    ],
    ids=["eight of sixteen", "all five within the budget", "four of five", "one alone", "exactly", "another searcher"],
)
def test_only_candidates_within_the_budget_cost_steps(options: tuple[str, ...], steps: int) -> None:
    """By default eight candidates to half of the steps, and one in three of them to the end."""
    searcher = () if "searcher=evolution" in options else ("searcher=halving",)
    config: SearchConfig = composed("search", *LAYERS, "budget=softmax_share", *searcher, *options)
    assert search_steps(config, build_space(config.space, config.model, 24)) == steps
