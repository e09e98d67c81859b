"""Checks of the options of a budget, each with what would do."""

from collections.abc import Sequence

from nas.errors import UserError

MOST_EXPENSIVE, BOTH, CHEAPEST, DRAWN = STARTS = "most_expensive", "both", "cheapest", "drawn"
"""Architectures from which the cost can approach the target, as `budget.start` names them."""


def check_phases(
    target: float,
    start: str,
    dense_until: float,
    tighten_over: float,
    route_dropout_over: float,
    distillation: float,
) -> None:
    """Raise a UserError if the phases of a budget cannot work; see `nas.budget.controller.Budget` for the options."""
    if not 0 < target <= 1:
        raise UserError(
            f"budget.target={target} is no fraction of the highest cost; give a number over 0 and at most 1."
        )
    if start not in STARTS:
        raise UserError(f"budget.start={start} is unknown; choose one of: {', '.join(STARTS)}.")
    if route_dropout_over and start == CHEAPEST:
        raise UserError(
            f"budget.route_dropout_over={route_dropout_over:g} keeps chunks at first, but budget.start={start} "
            "drops them; give budget.start=most_expensive or budget.route_dropout_over=0."
        )
    if distillation and start == DRAWN:
        raise UserError(
            f"budget.distillation={distillation:g} distils the model of the dense phase, but with budget.start={start} "
            "that is another one in each step; give budget.start=most_expensive or budget.distillation=0."
        )
    for option, value in (("dense_until", dense_until), ("tighten_over", tighten_over)):
        if distillation and not value:
            raise UserError(
                f"budget.distillation={distillation:g} distils the model of the dense phase while the budget "
                f"tightens, which budget.{option}=0 leaves no step for; give a larger budget.{option}."
            )


def check_multiplier(
    exact: bool,
    price: float,
    max_multiplier: float,
    ranges: Sequence[tuple[float, float]],
    loss_margin: float | None,
) -> None:
    """Raise a UserError if the multiplier of a budget cannot work; see `nas.budget.controller.Budget`."""
    if price > max_multiplier:
        raise UserError(f"budget.price={price} exceeds budget.max_multiplier={max_multiplier}; give a smaller price.")
    if exact and loss_margin is not None:
        raise UserError(
            f"budget.loss_margin={loss_margin:g} lets the cost stay above the target, which budget.exact=true "
            "forbids; give budget.exact=false or budget.loss_margin=null."
        )
    if exact and ranges:
        raise UserError(
            "budget.by_layer=true limits each layer, but budget.exact=true moves the thresholds of all routers "
            "together; give budget.exact=false or budget.by_layer=false."
        )
