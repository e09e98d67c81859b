"""Set the router thresholds of a selected architecture so that it meets the budget."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import torch

from nas.budget.cost import SpaceCost
from nas.data import Batch
from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from nas.models.router import Router
from nas.models.routing import Policy, Routing, kept_margin
from nas.search_spaces.space import Code
from nas.supernet.architecture_logits import ROUNDING, ArchitectureLogits
from nas.supernet.draws import choices_of_layers
from nas.supernet.thresholds import CLEARANCE

ROUNDS = 12
"""Maximum number of thresholds to try. The routes of a layer change the inputs of later routers, so the first threshold
rarely fits."""
CLOSE = 0.002
"""Difference from the target, in relative cost, at which calibration ends."""


@torch.no_grad()
def calibrate(
    model: LanguageModel,
    architecture_logits: ArchitectureLogits,
    cost: SpaceCost,
    code: Code,
    batches: Sequence[Batch],
    target: float,
    exact: bool,
) -> float | None:
    """Move the thresholds of all routers until one architecture of the space costs the target on these batches.

    The target is an upper limit: of the thresholds that were tried, the one with the highest cost up to the target is
    used, or the one with the lowest cost if all cost more. Chunks with equal margins are kept or dropped together, and
    dropped if the cost of all of them exceeds the target. With ``exact`` it is the one nearest to the target. During
    training the budget limits the expected cost of the whole space, on sequences of every length. Calibration considers
    one architecture only.

    Args:
        model: supernet of the space, changed in place.
        architecture_logits: architecture logits of the space.
        cost: cost of the space.
        code: code of the architecture.
        batches: sequences of the length to which the budget applies.
        target: relative cost to reach.
        exact: whether a cost below the target is as wrong as a cost above it.

    Returns:
        The relative cost on these batches; None if the architecture has no routers.
    """
    if not any(own[option].routed for own, option in zip(architecture_logits.space.options, code, strict=True)):
        return None
    routers = [module for module in model.modules() if isinstance(module, Router)]
    at = 0.0

    def attempt(to: float) -> Trial:
        nonlocal at
        at = at if to == at else _move(routers, at, to)
        return trial_of(routing_of(model, batches, code), architecture_logits, cost, code, target, exact)

    found = search(attempt, target, exact)
    _move(routers, at, found.threshold)
    return found.cost


class Trial(NamedTuple):
    """The routing at one threshold.

    Attributes:
        cost: its cost, in any unit.
        shares: softmax shares of its layers.
        step: function that returns how far the threshold must rise for the margins of this routing to cost the target.
    """

    cost: float
    shares: Collection[float]
    step: Callable[[], float]


class Found(NamedTuple):
    """A threshold and its cost."""

    threshold: float
    cost: float


def trial_of(
    routing: dict[int, list[Routing]],
    architecture_logits: ArchitectureLogits,
    cost: SpaceCost,
    code: Code,
    target: float,
    exact: bool,
) -> Trial:
    """Return the trial of a routing, by layer, in which chunks with a margin of 0 or more are kept; see `calibrate`."""
    shares = {
        layer: one.mean((kept_margin(one) >= 0).float()).item()
        for layer, one in ((layer, Routing.joined(own)) for layer, own in routing.items())
    }
    return Trial(
        cost.relative(cost.of(code, shares)),
        set(shares.values()),
        lambda: architecture_logits.threshold_of(cost, routing, code, target, exact).item(),
    )


def search(
    attempt: Callable[[float], Trial], target: float, exact: bool, close: float = CLOSE, lower: bool = False
) -> Found:
    """Return the best of the thresholds that were tried for a target cost; 0 is the first of them.

    Args:
        attempt: function that routes by a threshold.
        target: cost to reach.
        exact: whether a cost below the target is as wrong as a cost above it. Otherwise it is an upper limit.
        close: difference from the target at which the search ends.
        lower: whether a threshold may fall below 0 to use up a target that is an upper limit.
    """
    low, high, at = -math.inf, math.inf, 0.0  # the cost crosses the target between low and high; the present threshold
    best: tuple[tuple[bool, float, float], float, float] | None = None  # error, threshold and cost
    for number in range(ROUNDS):
        trial = attempt(at)
        over = trial.cost - target
        wrong = not exact and over > ROUNDING
        tried = ((wrong, abs(over), 0.0 if exact else number), at, over + target)
        best = tried if best is None else min(best, tried)
        if (abs(over) <= close and not wrong) or (at == 0 and over < 0 and not exact and not lower):
            break
        low, high = (at, high) if over > 0 else (low, at)
        to = at + trial.step()
        if not exact and not wrong and abs(to - at) < CLEARANCE:  # the next chunks to keep cost more than is left
            break
        if to == at and set(trial.shares) == {float(over < 0)}:  # all that could move has moved
            break
        at = to if low < to < high else _inside(low, high)
    assert best is not None
    return Found(best[1], best[2])


def _inside(low: float, high: float) -> float:
    """Return the middle of an interval; a finite step away from its finite end if the other one is infinite."""
    if math.isinf(high):
        return low + max(1.0, abs(low))
    if math.isinf(low):
        return high - max(1.0, abs(high))
    return (low + high) / 2


def routing_of(
    model: LanguageModel, batches: Sequence[Batch], code: Code, policy: Policy = learnt
) -> dict[int, list[Routing]]:
    """Return the routings of one architecture on the batches under a policy, by layer."""
    found: dict[int, list[Routing]] = {}
    for batch in batches:
        device, documents = model.embedding.weight.device, batch.packed()
        _, decided = model.hidden(
            batch.tokens.to(device),
            policy,
            choices_of_layers(code),
            documents=None if documents is None else documents.to(device),
        )
        found = {layer: found.get(layer, []) + own for layer, own in decided.items()}
    return found


def _move(routers: Sequence[Router], at: float, to: float) -> float:
    """Move the thresholds of all routers from ``at`` to ``to``; returns ``to``."""
    for router in routers:
        router.move_threshold(torch.tensor(to - at, device=router.score.bias.device))
    torch.clear_autocast_cache()  # it holds the biases as they were, in lower precision
    return to
