"""The end of a search whose budget is to be used up: thresholds of the routers of what was found, set once more."""

from collections.abc import Sequence

import torch

from nas.choices import Choices, paths_of
from nas.cost import SpaceCost
from nas.data import Batch
from nas.evaluation import learnt
from nas.models.language_model import LanguageModel
from nas.models.mixers import Routing
from nas.models.router import Router
from nas.space import Code

ROUNDS = 4
"""A layer's routes change what later routers see, so that one round comes close and the next closer."""


@torch.no_grad()
def calibrate(
    model: LanguageModel, choices: Choices, cost: SpaceCost, code: Code, batches: Sequence[Batch], target: float
) -> None:
    """Move all routers of ``model`` to where one architecture of its space costs the target on these batches.

    Where no threshold does that, to where it comes nearest. While training goes on, thresholds follow the expected
    cost of the whole space on sequences of every length; this is for the one architecture that is left.

    Args:
        model: of the space.
        choices: of the space.
        cost: of the space.
        code: of the architecture.
        batches: of the length for which the budget is meant.
        target: relative cost.
    """
    routers = [module for module in model.modules() if isinstance(module, Router)]
    device, paths = model.embedding.weight.device, paths_of(code)
    for _ in range(ROUNDS if routers else 0):
        routing: dict[int, list[Routing]] = {}
        for batch in batches:
            decided = model(batch.tokens.to(device), learnt, paths=paths).routing
            routing = {layer: routing.get(layer, []) + own for layer, own in decided.items()}
        by = choices.threshold_of(cost, routing, code, target)
        for router in routers:
            router.move_threshold(by)
