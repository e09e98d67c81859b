"""The budget of a config, for the costs of a space."""

from dataclasses import asdict

from nas.budget.controller import Budget
from nas.budget.cost import SOFTMAX_SHARE, UNITS, SpaceCost
from nas.config import BudgetConfig
from nas.errors import UserError
from nas.latency.table import Latencies
from nas.search_spaces.space import Space


def budgeted_cost(config: BudgetConfig, space: Space, latencies: Latencies | None = None) -> SpaceCost:
    """Return the cost of a space in the resource of the budget; UserError if the resource is unknown.

    Args:
        config: options of the budget.
        space: space of the architectures.
        latencies: latency table of `nas.latency.obtain.latencies_of`; None unless the resource is latency.
    """
    if config.resource not in UNITS:
        raise UserError(f"budget.resource={config.resource} is unknown; choose one of: {', '.join(UNITS)}.")
    return SpaceCost(config.resource, space, config.context, latencies)


def build_budget(config: BudgetConfig, cost: SpaceCost) -> Budget:
    """Return the budget of a config; UserError if no architecture of the space can meet it."""
    options = asdict(config)
    resource, target, by_layer = options.pop("resource"), options.pop("target"), options.pop("by_layer")
    for name in ("context", "phase"):
        del options[name]
    if resource == SOFTMAX_SHARE:
        target = Budget(target=target, **options).target  # checks the target, even if nothing is searched
    if cost.least >= cost.most:  # every architecture costs the same
        return Budget(target=1.0, **options)
    if cost.latencies is not None:
        target = _unrounded(cost, target)
    _check_reachable(cost, target, config.exact)
    ranges = cost.ranges if by_layer else ()
    return Budget(target=min(1.0, cost.relative(target)), floor=cost.relative(cost.least), ranges=ranges, **options)


def _unrounded(cost: SpaceCost, target: float) -> float:
    """Return a target that a user has copied from a message, without the error of its rounding."""
    ends = (cost.least, cost.most)
    return next((end for end in ends if cost.shown(end) == cost.shown(target)), target)


def _check_reachable(cost: SpaceCost, target: float, exact: bool) -> None:
    """Raise UserError if every architecture costs more than the target, or less and the budget is exact.

    A measured latency is no figure that a user can work out. A target over that of every architecture is an error too,
    since it is most often in another unit.
    """
    bounded = exact or cost.latencies is not None
    if target >= cost.least and target > 0 and not (bounded and target > cost.most):
        return
    advice = "give a number in that range" if bounded else f"give {cost.shown(cost.least)} or more"
    raise UserError(
        f"budget.target={cost.shown(target)} cannot be met: architectures of {cost.space.name} need from "
        f"{cost.shown(cost.least)} to {cost.shown(cost.most)} {UNITS[cost.resource]}{_where(cost)}; {advice}."
    )


def _where(cost: SpaceCost) -> str:
    """Return the part of a message with the options at which a cost counts."""
    if cost.resource == SOFTMAX_SHARE:
        return ""
    at = f" at budget.context={cost.context}"
    return at if cost.latencies is None else f"{at} with budget.phase={cost.latencies.setting.phase}"
