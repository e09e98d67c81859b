"""Which architectures successive halving trains."""

import pytest

from nas.budget.build import budgeted_cost, build_budget
from nas.cli.composing import compose_search
from nas.pretrained.stock import build_space
from nas.search_spaces.space import Code, Space
from nas.searchers.halving.candidates import candidates
from tests.nas.commands import SMALL

OPTIONS = ("+space=layer_hybrid", *SMALL, "model.layers=3", "space.operations=[softmax,linear]", "searcher=halving")


def found(count: int, *options: str, seed: int = 0) -> tuple[Space, list[Code]]:
    config = compose_search([*OPTIONS, *options])
    space = build_space(config.space, config.model, 9)
    cost = budgeted_cost(config.budget, space)
    return space, candidates(space, cost, build_budget(config.budget, cost), seed, count)


@pytest.mark.parametrize(
    ("target", "exact", "softmax_layers"),
    [(0.01, False, {0}), (0.34, False, {0, 1}), (1.0, False, {0, 1, 2, 3}), (1 / 3, True, {1}), (2 / 3, True, {2})],
)
def test_all_architectures_within_the_budget_are_candidates(
    target: float, exact: bool, softmax_layers: set[int]
) -> None:
    space, codes = found(8, "budget=softmax_share", f"budget.target={target}", f"budget.exact={str(exact).lower()}")
    within = [code for code in space.codes() if space.decode(code).mixers.count("softmax") in softmax_layers]
    assert codes == within


def test_the_seed_alone_draws_fewer_of_them() -> None:
    share = ("budget=softmax_share", "budget.target=0.7")
    (_, first), (_, again) = found(3, *share), found(3, *share)
    assert first == again == sorted(set(first))
    assert len(first) == 3
    assert any(found(3, *share, seed=seed)[1] != first for seed in range(1, 5))
