"""Notes on a run: each where it holds, and no others."""

import math
from dataclasses import replace
from functools import cache

import pytest

from nas.results.notes import notes
from nas.results.training_record import TrainingRecord
from nas.runs.candidate import Candidate
from nas.runs.metrics import BudgetUse, Searched
from nas.supernet.discretised import Discretised, discretise
from tests.nas.supernet.test_thresholds import made

ENDED = TrainingRecord(True, None, 6, 6, 1.0, 100, 100.0, None, None)
MET = BudgetUse("softmax_share", 0.5, False, 0.5, 0.0, 1.0, 0.0, 1)
BEST = Candidate((0, 0), ("softmax", "softmax"), 0.5, 1.0, 0.5, 0.1)


@cache
def discretised(space: str = "token_hybrid", *options: str, begun: bool = True) -> Discretised:
    module = made("cpu", space, "budget.target=0.9", *options, begun=begun)
    one = discretise(module.supernet, module.task, {1: module.task.validation_batches()})
    kept = {layer: [0.5, 0.5] for layer in one.evaluation.shares}
    return replace(one, evaluations={1: replace(one.evaluation, shares=kept)})


def noted(
    one: Discretised,
    budget: BudgetUse = MET,
    training: TrainingRecord = ENDED,
    learns: bool = True,
    searched: Searched | None = None,
) -> list[str]:
    return notes(one, budget, training, learns, searched)


def test_a_run_in_which_all_went_well_has_none() -> None:
    assert noted(discretised()) == noted(discretised("layer_hybrid")) == []


@pytest.mark.parametrize(("start", "operation"), [("most_expensive", "softmax"), ("cheapest", "linear attention")])
def test_routing_that_never_began(start: str, operation: str) -> None:
    one = discretised("token_hybrid", "budget.dense_until=1", f"budget.start={start}", begun=False)
    assert noted(one) == [f"Routing had not begun: every chunk went to {operation}."]


def test_a_training_that_was_stopped() -> None:
    stopped = replace(ENDED, finished=False, step=4)
    assert noted(discretised(), training=stopped) == ["Stopped at step 4 of 6; the model at this step is saved."]


@pytest.mark.parametrize(("share", "told"), [(0.0, True), (4e-4, True), (6e-4, False), (math.nan, False)])
def test_routers_that_keep_next_to_no_chunk(share: float, told: bool) -> None:
    one = discretised()
    few = replace(one.evaluation, shares={layer: [share, share] for layer in one.evaluation.shares})
    found = noted(replace(one, evaluations={1: few}))
    assert len(found) == told
    assert all(note.startswith("Routers keep almost no chunk.") for note in found)
    assert all("try half of trainer.learning_rate" in note for note in found)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_training_that_diverged(loss: float) -> None:
    one = discretised()
    (note,) = noted(replace(one, evaluations={1: replace(one.evaluation, loss=loss)}))
    assert "training diverged by step 6 of 6" in note


def test_an_architecture_that_nothing_selected() -> None:
    several = discretised("layer_hybrid")
    assert "No searcher has run yet" in noted(several, learns=False)[0]
    assert noted(discretised(), learns=False) == []
    assert noted(several, learns=False, searched=Searched("random", 3, BEST, 0.5, 1.0)) == []
    (note,) = noted(several, learns=False, searched=Searched("random", 3, None, 0.5, 1.0))
    assert note.startswith("No scored architecture is within the budget")


@pytest.mark.parametrize(
    ("calibrated", "exact", "reason"),
    [
        (0.7, False, "No threshold of its routers that was tried costs less on training sequences."),
        (0.7, True, "No threshold of its routers that was tried is nearer to the target on training sequences."),
        (0.5, False, "Its routers meet the target on training sequences, and keep more chunks of the validation"),
        (None, False, "Its layers have no router whose threshold could move."),
    ],
)
def test_the_reason_of_a_missed_budget(calibrated: float | None, exact: bool, reason: str) -> None:
    (note,) = noted(replace(discretised(), calibrated=calibrated), budget=replace(MET, used=0.7, exact=exact))
    assert reason in note


@pytest.mark.parametrize(
    ("used", "exact", "missed"),
    [(0.51, False, False), (0.53, False, True), (0.1, False, False), (0.49, True, False), (0.1, True, True)],
)
def test_a_budget_that_was_not_met(used: float, exact: bool, missed: bool) -> None:
    found = noted(replace(discretised(), calibrated=0.5), budget=replace(MET, used=used, exact=exact))
    assert len(found) == missed
    assert all(f"needs {used:g} of the chunks, the target is 0.5. " in note for note in found)
    assert noted(discretised(), budget=replace(MET, used=used, exact=exact, least=1.0)) == [], "nothing to decide"
