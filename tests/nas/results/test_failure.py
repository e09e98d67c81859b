"""The signs of a failed search: each where it holds, and none in a search that went well."""

import math
from typing import Any

import pytest

from nas.evaluation.noise import Estimate
from nas.results.failure import failure, loss_left_at, sentence_of
from nas.runs.metrics import Failure, Row
from tests.nas.runs import examples

DROPPING = "all linear"
KEPT, NOTHING = {1: [0.25, 0.0], 3: [0.125, 0.0]}, {1: [0.0, 0.0], 3: [4e-4, 0.0]}
LEARNT = [{"step": step, "loss": loss} for step, loss in ((10, 4.0), (20, 2.0), (30, 0.01), (40, 0.02))]
RISEN = [*LEARNT, {"step": 50, "loss": 0.5}, {"step": 60, "loss": 0.6}]


def rows(near: float, far: float, shares: dict[int, list[float]], lead: float = 0.0) -> tuple[Row, Row]:
    share = sum(map(sum, shares.values())) / 4
    learnt = {
        factor: examples.figures(quality, shares=shares, share=share, margin=0.01, found={}, found_by_layer={})
        for factor, quality in ((1, near), (16, far), (64, 0.0))
    }
    dropped = {factor: examples.figures(0.1, lead=Estimate(lead, 0.01)) for factor in learnt}
    return Row("searched routing", learnt), Row(DROPPING, dropped)


def found(*given: Any, logged: Any = LEARNT, quality: str = "recall", learns: bool = True) -> Failure | None:
    return failure(rows(*given), quality, 0.0625, logged, DROPPING, learns)


def test_a_search_whose_routes_matter_has_not_failed() -> None:
    assert found(0.7, 0.2, KEPT, 0.5) is None
    assert found(0.7, 0.2, KEPT, 0.5, logged=RISEN) is None, "a budget may cost quality"
    assert found(math.nan, 0.2, NOTHING) is None, "another sentence says that it diverged"


def test_a_task_that_needs_no_chunk_has_not_failed() -> None:
    assert found(1.0, 0.9, NOTHING) is None
    assert found(1.2, 1.3, NOTHING, quality="bits_per_byte") is None, "no quality is the best possible one"
    assert found(0.07, 0.06, NOTHING) is None, "nothing was learnt"


def test_quality_that_fell_during_training() -> None:
    validated = [*LEARNT, {"step": 25, "validation_recall": 0.9}, {"step": 50, "validation_recall": 0.5}]
    failed = found(0.7, 0.2, KEPT, 0.5, logged=validated)
    assert failed == Failure(("recall is 0.700 and was 0.900 at step 25",), None, ())
    assert sentence_of(failed).startswith(
        "The search has failed: recall is 0.700 and was 0.900 at step 25. Try half of"
    )
    assert found(0.885, 0.2, KEPT, 0.5, logged=validated) is None, "within the noise"
    assert found(0.7, 0.2, KEPT, 0.5, logged=validated, learns=False) is None, "of another architecture"
    bits = [{"step": 25, "loss": 1.0, "validation_bits_per_byte": 1.2}]
    assert found(1.25, 1.2, KEPT, logged=bits, quality="bits_per_byte") is not None
    assert found(1.21, 1.2, KEPT, logged=bits, quality="bits_per_byte") is None


def test_routers_that_keep_nothing_while_the_loss_rose() -> None:
    failed = found(1.0, 0.9, NOTHING, logged=RISEN)
    assert failed == Failure(("routers keep almost no chunk, and the loss has risen since step 50",), 50, (1, 3))
    one = found(0.7, 0.2, {1: [0.25, 0.0], 3: [0.0, 0.0]}, 0.5, logged=RISEN)
    assert one is None, "one layer is enough"


@pytest.mark.parametrize(("near", "far", "sign"), [(0.9, 0.9, "recall is 0.900"), (1.0, 0.5, "recall is 0.500 at 16")])
@pytest.mark.parametrize(("shares", "dropped"), [(NOTHING, (1, 3)), (KEPT, ())], ids=["nothing", "useless"])
def test_an_imprecise_solution_by_linear_attention(
    near: float, far: float, sign: str, shares: dict[int, list[float]], dropped: tuple[int, ...]
) -> None:
    failed = found(near, far, shares)
    assert failed is not None
    assert failed.signs[0].startswith(f"routers keep no chunk that matters, and {sign}")
    assert (failed.loss_left_at, failed.dropped_layers) == (None, dropped)


def test_a_loss_is_averaged_over_a_part_of_the_steps() -> None:
    steady = [{"step": step, "loss": 4.0 if step < 20 else 0.1} for step in range(100)]
    assert loss_left_at([*steady, {"step": 100, "loss": 0.4}]) is None, "a single step"
    assert loss_left_at([*steady, *({"step": 100 + more, "loss": 2.0} for more in range(10))]) == 100
    assert loss_left_at([{"step": 5, "validation_recall": 1.0}]) is None
