"""The training steps of a whole search."""

from nas.config import SearchConfig
from nas.pretrained.stock import build_space
from nas.searchers.halving.steps import search_steps
from tests.nas.commands import SMALL, composed

LAYERS = (*SMALL, "+space=layer_hybrid", "model.layers=4", "space.operations=[softmax,linear]", "trainer.steps=100")


def steps(*options: str) -> int:
    config: SearchConfig = composed("search", *LAYERS, *options)
    return search_steps(config, build_space(config.space, config.model, 24))


def test_all_candidates_of_a_search_by_halving_count() -> None:
    assert steps("searcher=halving", "budget.target=1") == 8 * 50 + 2 * 50
    assert steps("searcher=halving", "budget.target=0.25") == 5 * 50 + 50, "five are within the budget"
    assert steps("searcher=evolution", "budget.target=0.25") == 100
