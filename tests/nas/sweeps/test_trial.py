"""Trials that diverge, cannot be built, fail by an error of the program, or are pruned."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from torch import Tensor

from nas.training.module import TrainingModule
from nas.training.validation import Validation
from tests.nas.commands import SHORT, nas
from tests.nas.sweeps.sweeping import SWEEP, diverging_above, metrics, study


def test_a_trial_that_diverges_or_cannot_be_built_fails_with_its_reason_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging_above(1, monkeypatch)
    ranges = (
        "+sweep.ranges.trainer.learning_rate.choices=[1e-3,10]",
        "+sweep.ranges.model.routing_heads.choices=[2,3]",
    )
    grid = (
        "sweep.sampler=Grid",
        "sweep.trials=4",
        *(f"~sweep.ranges.{name}" for name in ("trainer", "budget", "model")),
    )
    ended = nas("sweep", *SWEEP, *grid, *ranges, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    trials = metrics(ended.run)["trials"]
    assert Counter(trial["state"] for trial in trials) == {"complete": 1, "fail": 3}
    for trial in trials:
        if trial["values"]["model.routing_heads"] == 3:
            assert "model.routing_heads=3" in trial["reason"]
        elif trial["values"]["trainer.learning_rate"] == 10:
            assert re.fullmatch(r"training diverged: the loss or a weight .* at step \d", trial["reason"])
    assert "2 trials failed: model.routing_heads=3" in ended.out
    assert "1 trial failed: training diverged" in ended.out
    assert {trial.state for trial in study(ended.run)} == {TrialState.COMPLETE, TrialState.FAIL}
    assert nas("sweep", f"resume={ended.run}").status == 0
    assert metrics(ended.run)["trials"] == trials


def test_an_error_of_the_program_fails_its_trial_and_leaves_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step = TrainingModule.training_step
    begun: list[int] = []

    def failing(self: TrainingModule, batch: Any, index: int) -> Tensor:
        begun.append(self.global_step)
        if begun.count(0) == 2:
            raise RuntimeError("out of memory\nwith details")
        return training_step(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", failing)
    ended = nas("sweep", *SWEEP, *SHORT, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    failed = metrics(ended.run)["trials"][1]
    assert failed["state"] == "fail"
    assert failed["reason"].startswith("RuntimeError: out of memory (see ")
    assert "with details" in (ended.run / "errors" / "trial_0002.txt").read_text()


def worse_from_the_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the validation: it returns quality 1 for the first trials and 0 for later ones."""
    modules: list[int] = []

    def validate(self: TrainingModule) -> Validation:
        if id(self) not in modules:
            modules.append(id(self))
            kept.append(self)
        return Validation(float(modules.index(id(self)) < 2), None)

    kept: list[TrainingModule] = []
    monkeypatch.setattr(TrainingModule, "validate", validate)


def test_trials_worse_than_the_median_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse_from_the_third(monkeypatch)
    pruner = ("sweep.pruner=median", "+sweep.pruner_options.n_startup_trials=2", "sweep.trials=4")
    ended = nas("sweep", *SWEEP, *pruner, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    trials = metrics(ended.run)["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete", "pruned", "pruned"]
    assert trials[2]["reason"] == "recall was 0.000 at step 2"
    assert re.search(r"trial 3 of 4  (\S+=\S+  )+pruned: recall was 0\.000 at step 2", ended.out)
    assert [list(trial.intermediate_values) for trial in study(ended.run)] == [[2, 4], [2, 4], [2], [2]]
    assert not (Path(trials[2]["run"]) / "metrics.json").exists()


def test_nothing_is_pruned_where_none_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worse_from_the_third(monkeypatch)
    ended = nas("sweep", *SWEEP, "sweep.pruner=none", f"output={tmp_path}")
    assert [trial["state"] for trial in metrics(ended.run)["trials"]] == ["complete"] * 3


def test_a_trial_of_several_trainings_outlives_one_that_diverges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training_step = TrainingModule.training_step

    def lost(self: TrainingModule, batch: Any, index: int) -> Tensor:
        loss = training_step(self, batch, index)
        if len(self.space.routed) == 2:
            self.latest["loss"] = loss.detach() * float("nan")
        return loss

    monkeypatch.setattr(TrainingModule, "training_step", lost)
    space = (
        "+space=joint",
        "space.operations=[linear,token_hybrid]",
        "space.chunk_sizes=[8]",
        "searcher=halving",
        "model.layers=2",
    )
    sweep = [option for option in SWEEP if not option.startswith("+space")]
    ended = nas("sweep", *space, *sweep, "searcher.batches=1", "budget=kv_bytes", "budget.context=64",
                "budget.target=9e9", "~sweep.ranges.budget", "sweep.trials=1", f"output={tmp_path}")  # fmt: skip
    assert ended.status == 0, ended.err
    (trial,) = study(ended.run)
    assert trial.state == TrialState.COMPLETE
    run = Path(trial.user_attrs["run"])
    assert (run / "rungs.json").exists(), "the run to resume is that of the search"
    assert len(list((run / "candidates").iterdir())) == 3, "and the fourth is the answer"
