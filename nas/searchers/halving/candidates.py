"""The candidates of successive halving: architectures within the budget, drawn by the seed alone."""

from random import Random
from typing import NamedTuple

from nas.budget.controller import Budget
from nas.budget.cost import SpaceCost
from nas.config import HalvingConfig
from nas.data.seeding import stable_seed
from nas.search_spaces.space import Code, Space
from nas.searchers.draws import Draws
from nas.supernet.architecture_logits import ROUNDING, ArchitectureLogits


class Start(NamedTuple):
    """What a candidate starts from.

    Attributes:
        code: code of its architecture.
        restart: number of its initial weights, from 0.
    """

    code: Code
    restart: int


def starts(space: Space, cost: SpaceCost, budget: Budget, seed: int, searcher: HalvingConfig) -> list[Start]:
    """Return what all candidates of a search start from; see `candidates`."""
    codes = candidates(space, cost, budget, seed, searcher.evaluations)
    return [Start(code, restart) for code in codes for restart in range(searcher.restarts)]


def candidates(space: Space, cost: SpaceCost, budget: Budget, seed: int, count: int) -> list[Code]:
    """Return the codes of up to ``count`` architectures within the budget, all of them if there are no more.

    Args:
        space: search space.
        cost: cost of the space.
        budget: budget of the search.
        seed: seed of the search.
        count: largest number of candidates.
    """
    logits = ArchitectureLogits(space)

    def excess(code: Code) -> float:
        """Return the cost over the budget if routers keep no chunk; exact budgets must be within reach of routers."""
        least = cost.relative(cost.of(code, dict.fromkeys(range(len(code)), 0.0)))
        return (
            logits.excess(cost, code, least, budget.target, True) if budget.exact else least - budget.target - ROUNDING
        )

    draws = Draws(space, excess, Random(stable_seed(seed, "halving")))
    drawn: list[Code] = []
    while len(drawn) < count and (code := draws.fresh(drawn)) is not None:
        drawn.append(code)
    return sorted(drawn)
