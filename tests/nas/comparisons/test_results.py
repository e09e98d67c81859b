"""Results of trainings: JSON, and inconsistent results that are refused."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from nas.comparisons.results import Comparison, Trained
from tests.nas.comparisons.examples import by_seed, comparison, contender, recall, text, trained


@pytest.mark.parametrize("given", [recall, text], ids=["recall", "text"])
def test_a_comparison_comes_back_from_json(given: Any) -> None:
    made = given()
    written = json.dumps(made.to_dict(), allow_nan=False)
    back = Comparison.from_dict(json.loads(written))
    assert json.dumps(back.to_dict()) == written
    run = back.contenders[0].runs[0]
    assert run.seed == made.contenders[0].runs[0].seed
    assert run.quality == made.contenders[0].runs[0].quality  # keys are numbers again
    assert run.by_position == made.contenders[0].runs[0].by_position  # and segments tuples
    assert back.contenders[0].tried == {1e-3: 0.4, 2e-3: 0.5}
    earlier = json.loads(written)
    for one in earlier["entrants"]:
        del one["placements"]
    assert Comparison.from_dict(earlier) == back, "earlier versions had no placements"


def test_numbers_that_are_not_finite_come_back_as_nan() -> None:
    run = replace(trained(3, {1: math.inf, 2: 0.5}), loss={1: -math.inf, 2: math.nan}, training_flops=math.nan)
    given = run.to_dict()
    assert given["quality"] == {"1": None, "2": 0.5}
    back = Trained.from_dict(json.loads(json.dumps(given, allow_nan=False)))
    assert math.isnan(back.quality[1])
    assert all(map(math.isnan, back.loss.values()))
    assert math.isnan(back.training_flops)
    assert back.planted is not None
    assert math.isnan(back.planted["recall"])
    assert back.decode_seconds is None


def test_fields_that_are_missing_or_unknown_are_named() -> None:
    given = trained(0, {1: 0.5}).to_dict()
    with pytest.raises(ValueError, match="misses fields loss, share"):
        Trained.from_dict({key: value for key, value in given.items() if key not in ("loss", "share")})
    with pytest.raises(ValueError, match="unknown fields speed"):
        Trained.from_dict(given | {"speed": 1})
    with pytest.raises(ValueError, match="not list"):
        Comparison.from_dict([])


def test_what_does_not_fit_together_is_refused() -> None:
    one = by_seed("softmax", 0.5, 0.6)
    with pytest.raises(ValueError, match="quality='speed' is unknown"):
        comparison(one, quality="speed")
    with pytest.raises(ValueError, match="a name of its own"):
        comparison(one, by_seed("softmax", 0.1, 0.2))
    with pytest.raises(ValueError, match=r"linear was trained with seeds \[1, 0\]"):
        comparison(one, contender("linear", trained(1, {1: 0.5}), trained(0, {1: 0.5})))
    with pytest.raises(ValueError, match="at least one"):
        comparison(contender("linear"))
    with pytest.raises(ValueError, match="softmax, seed 0, has no quality for 2"):
        comparison(one, factors=(1, 2))
    with pytest.raises(ValueError, match="is empty"):
        comparison()


def test_costs_are_compared_at_32k_or_the_longest_context() -> None:
    assert comparison(by_seed("a", 0.5)).context == 32768
    run = trained(0, {1: 0.5})
    short = replace(run, kv_bytes={512: 1.0, 1024: 2.0}, flops_per_token={512: 1.0, 1024: 2.0})
    assert comparison(contender("a", short)).context == 1024
    lacking = replace(run, flops_per_token={})
    with pytest.raises(ValueError, match="no flops_per_token for 4096"):
        comparison(contender("a", lacking))
