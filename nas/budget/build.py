"""The budget of a config, for the costs of a space."""

from dataclasses import asdict

from nas.budget.controller import Budget
from nas.budget.cost import SOFTMAX_SHARE, UNITS, SpaceCost
from nas.config import BudgetConfig
from nas.errors import UserError
from nas.search_spaces.space import Space


def budgeted_cost(config: BudgetConfig, space: Space) -> SpaceCost:
    """Return the cost of a space in the resource of the budget; UserError if the resource is unknown."""
    if config.resource not in UNITS:
        raise UserError(f"budget.resource={config.resource} is unknown; choose one of: {', '.join(UNITS)}.")
    return SpaceCost(config.resource, space, config.context)


def build_budget(config: BudgetConfig, cost: SpaceCost) -> Budget:
    """Return the budget of a config; UserError if no architecture of the space can meet it."""
    options = asdict(config)
    resource, target, by_layer = options.pop("resource"), options.pop("target"), options.pop("by_layer")
    del options["context"]
    if resource == SOFTMAX_SHARE:
        target = Budget(target=target, **options).target  # checks the target, even if nothing is searched
    if cost.least >= cost.most:  # every architecture costs the same
        return Budget(target=1.0, **options)
    _check_reachable(cost, target, config.exact)
    ranges = cost.ranges if by_layer else ()
    return Budget(target=min(1.0, cost.relative(target)), floor=cost.relative(cost.least), ranges=ranges, **options)


def _check_reachable(cost: SpaceCost, target: float, exact: bool) -> None:
    """Raise UserError if every architecture costs more than the target, or less and the budget is exact."""
    if target >= cost.least and target > 0 and not (exact and target > cost.most):
        return
    at = "" if cost.resource == SOFTMAX_SHARE else f" at budget.context={cost.context}"
    advice = "give a number in that range" if exact else f"give {cost.shown(cost.least)} or more"
    raise UserError(
        f"budget.target={cost.shown(target)} cannot be met: architectures of {cost.space.name} need from "
        f"{cost.shown(cost.least)} to {cost.shown(cost.most)} {UNITS[cost.resource]}{at}; {advice}."
    )
