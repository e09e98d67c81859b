"""The end of a search: thresholds of the routers of what was found, set once more so that its budget is met."""

import math
from collections.abc import Sequence

import torch

from nas.budget.cost import SpaceCost
from nas.data import Batch
from nas.models.language_model import LanguageModel
from nas.models.mixers import Routing, kept_margin
from nas.models.policies import learnt
from nas.models.router import Router
from nas.search_spaces.space import Code
from nas.supernet.architecture_logits import ArchitectureLogits, choices_of_layers

ROUNDS = 12
"""Thresholds that are tried at most: a layer's routes change what later routers see, so that the first is rarely it."""
CLOSE = 0.002
"""Difference of relative costs that is none."""


@torch.no_grad()
def calibrate(
    model: LanguageModel,
    architecture_logits: ArchitectureLogits,
    cost: SpaceCost,
    code: Code,
    batches: Sequence[Batch],
    target: float,
    exact: bool,
) -> None:
    """Move all routers of ``model`` to where one architecture of its space costs the target on these batches.

    Where no threshold does that, to where it comes nearest. While training goes on, a budget is held by the expected
    cost of the whole space on sequences of every length; this is for the one architecture that is left.

    Args:
        model: of the space.
        architecture_logits: of the space.
        cost: of the space.
        code: of the architecture.
        batches: of the length for which the budget is meant.
        target: relative cost.
        exact: whether routers move where it costs less, too.
    """
    routers = [module for module in model.modules() if isinstance(module, Router)]
    low, high, at = -math.inf, math.inf, 0.0  # between which thresholds the cost crosses the target; where they are
    best = (math.inf, 0.0)
    for _ in range(ROUNDS):
        routing = _routing(model, batches, code)
        shares = {
            layer: torch.cat([kept_margin(one) >= 0 for one in own]).float().mean().item()
            for layer, own in routing.items()
        }
        over = cost.relative(cost.of(code, shares)) - target
        best = min(best, (abs(over), at))
        if not routing or abs(over) <= CLOSE or (at == 0 and over < 0 and not exact):
            break
        low, high = (at, high) if over > 0 else (low, at)
        to = at + architecture_logits.threshold_of(cost, routing, code, target).item()
        if to == at:
            break
        at = _move(routers, at, to if low < to < high else (low + high) / 2)
    _move(routers, at, best[1])


def _routing(model: LanguageModel, batches: Sequence[Batch], code: Code) -> dict[int, list[Routing]]:
    """What the routers of one architecture decide, by layer."""
    found: dict[int, list[Routing]] = {}
    for batch in batches:
        decided = model(
            batch.tokens.to(model.embedding.weight.device), learnt, layer_choices=choices_of_layers(code)
        ).routing
        found = {layer: found.get(layer, []) + own for layer, own in decided.items()}
    return found


def _move(routers: Sequence[Router], at: float, to: float) -> float:
    """Move thresholds from one place to another, which is handed back."""
    for router in routers:
        router.move_threshold(torch.tensor(to - at, device=router.score.bias.device))
    return to
