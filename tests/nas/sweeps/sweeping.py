"""Small sweeps, and access to their results."""

import json
import math
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from torch import Tensor

from nas.training.module import TrainingModule
from tests.nas.commands import SEARCH

RANGE = "+sweep.ranges.model.chunk_size.choices=[8,16]"


SWEEP = (
    *SEARCH,
    RANGE,
    "sweep.trials=3",
    "sweep.prune_every=2",
    "data.length_factors=[1]",
    "trainer.validate_every=50",
)


QUICK = ("sweep.heartbeat=0.2", "sweep.grace=4")
"""A worker counts as dead after four seconds without a heartbeat, also if the processor was busy for that long."""


PATIENT = ("sweep.heartbeat=0.2", "sweep.grace=20")
"""Options for several workers on a shared machine."""


SPEED = "sweep.ranges.trainer.learning_rate"


def metrics(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.json").read_text())


def study(run: Path) -> list[FrozenTrial]:
    (name,) = optuna.get_all_study_names(storage := f"sqlite:///{run}/study.db")
    return optuna.load_study(study_name=name, storage=storage).trials


def line(found: dict[str, Any]) -> list[str]:
    """Return the options of the command that repeats the search of the best trial."""
    start, *options = found["best"][0]["command"].split("nas.search ")
    assert start == "python -m "
    return shlex.split(*options)


def diverging_above(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every training with a larger learning rate diverge in its first step."""
    training_step = TrainingModule.training_step

    def diverging(self: TrainingModule, batch: Any, index: int) -> Tensor:
        loss = training_step(self, batch, index)
        if self.config.trainer.learning_rate > rate:
            loss = loss * math.nan
            self.latest["loss"] = loss.detach()
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", diverging)


def signalled_in_trial(trial: int, step: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """Send a signal in a step of the training of a trial, counted from 1 and from now on."""
    training_step: Callable[..., Tensor] = TrainingModule.training_step
    begun: list[int] = []

    def signalled(self: TrainingModule, batch: Any, index: int) -> Tensor:
        begun.append(self.global_step)
        if begun.count(0) == trial and self.global_step == step:
            os.kill(os.getpid(), number)
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", signalled)


SEVERAL = ("sweep.objectives=[quality,share,parameters]", "+sweep.ranges.model.width={low: 16, high: 32, step: 16}")
