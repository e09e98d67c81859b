"""Options of a budget that cannot be, alone or together, are named with what would do."""

import math
from typing import Any

import pytest

from nas.errors import UserError
from tests.nas.budget.test_controller import budget


@pytest.mark.parametrize(
    "changed",
    [
        {"target": 0.0},
        {"target": 1.5},
        {"target": -0.1},
        {"target": math.nan},
        {"price": 3.5},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_named_with_what_would_do(changed: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        budget(**changed)
    ((name, value),) = changed.items()
    assert f"budget.{name}={value}" in str(caught.value)
    assert "; give" in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"start": "cheapest", "route_dropout_over": 0.5}, "budget.route_dropout_over=0.5 keeps chunks at first"),
        (
            {"distillation": 1.0, "tighten_over": 0.0},
            "budget.distillation=1 distils .* which budget.tighten_over=0 leaves",
        ),
        (
            {"distillation": 1.0, "dense_until": 0.0},
            "budget.distillation=1 distils .* which budget.dense_until=0 leaves",
        ),
        ({"exact": True, "loss_margin": 0.1}, "budget.loss_margin=0.1 lets the cost stay above"),
        ({"exact": True, "ranges": [(0.0, 1.0)]}, "budget.by_layer=true limits each layer"),
    ],
)
def test_options_that_do_not_fit_together_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"{named}.*; give"):
        budget(**changed)
