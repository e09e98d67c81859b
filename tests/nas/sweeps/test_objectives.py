"""The objectives of a sweep: their figures and directions."""

import math

import pytest

from nas.config import StudyConfig
from nas.errors import UserError
from nas.runs.metrics import Cost
from nas.sweeps.objectives import Objective, diverged, objectives
from tests.nas.commands import SEARCH, composed
from tests.nas.runs.examples import metrics, row

METRICS = metrics(
    training_seconds=3.0,
    learnt=row(quality=0.75, share=0.25),
    controls=(row("all softmax", 1.0, share=1.0),),
    cost=Cost(7, {4096: 11}, {4096: 13}),
)


def study(*names: str, context: int = 4096) -> StudyConfig:
    given: StudyConfig = composed("sweep", *SEARCH).sweep
    given.objectives, given.context = list(names), context
    return given


def test_each_objective_is_a_figure_of_what_was_learnt() -> None:
    names = ("quality", "share", "kv_bytes", "flops", "parameters", "seconds")
    found = objectives(study(*names), "recall")
    assert [one.name for one in found] == list(names)
    assert [one.of(METRICS) for one in found] == [0.75, 0.25, 11, 13, 7, 3.0]
    assert [one.direction for one in found] == ["maximize"] + ["minimize"] * 5


def test_bits_per_byte_are_made_smaller() -> None:
    (quality,) = objectives(study("quality"), "bits_per_byte")
    assert quality.direction == "minimize"
    assert quality.best([2.0, 1.0]) == 1.0
    assert Objective("quality", "maximize", lambda metrics: 0.0).best([2.0, 1.0]) == 2.0


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (study(), "sweep.objectives is empty; give one or more of: quality"),
        (study("speed"), "sweep.objectives has speed, which is unknown"),
        (study("share", "share"), "sweep.objectives has share twice"),
        (study("share", context=100), "sweep.context=100 is not measured; choose one of: 4096"),
    ],
    ids=["none", "unknown", "twice", "context"],
)
def test_what_is_no_objective_is_refused(given: StudyConfig, told: str) -> None:
    with pytest.raises(UserError, match=told):
        objectives(given, "recall")


@pytest.mark.parametrize(("loss", "usable"), [(0.5, True), (math.nan, False), (math.inf, False)])
def test_a_search_without_a_finite_loss_has_diverged(loss: float, usable: bool) -> None:
    assert (diverged(metrics(learnt=row(loss=loss))) is None) == usable
