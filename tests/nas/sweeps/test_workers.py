"""Workers of a sweep: several at a time, killed, stopped, and resumed."""

import os
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.nas.commands import SHORT, Ended, contents, nas
from tests.nas.processes import Halted, wait_for, wait_for_end
from tests.nas.sweeps.sweeping import PATIENT, QUICK, SWEEP, metrics, signalled_in_trial, study


def test_a_killed_sweep_goes_on_without_losing_or_repeating_a_trial(swept: Ended, tmp_path: Path) -> None:
    begun = Halted(tmp_path, 4, "sweep", *SWEEP, *QUICK, f"output={tmp_path}", done=2)
    begun.waiting(1)
    begun.process.kill()
    assert wait_for_end(begun.process).status == -signal.SIGKILL
    (run,) = (tmp_path / "sweep").iterdir()
    before = study(run)
    assert [trial.state.name for trial in before] == ["COMPLETE", "COMPLETE", "RUNNING"]
    runs = contents(run / "search")
    resumed = nas("sweep", f"resume={run}")
    assert resumed.status == 0, resumed.err
    assert "joining a study with 2 of 3 trials finished" in resumed.out
    trials = metrics(run)["trials"]
    assert [trial["attempts"] for trial in trials] == [1, 1, 2]
    assert [trial["values"] for trial in trials] == [trial["values"] for trial in metrics(swept.run)["trials"]]
    assert [trial["objectives"] for trial in trials] == [trial["objectives"] for trial in metrics(swept.run)["trials"]]
    assert len(list((run / "search").iterdir())) == 3  # the third went on in its own folder, from its checkpoint
    assert any("step=000000004.ckpt" in name for name in runs)
    after = contents(run / "search")
    assert all(after[name] == runs[name] for name in runs if "trial_0003" not in name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_releases_its_trial_and_continues(
    swept: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    signalled_in_trial(2, 3, monkeypatch, number)
    stopped = nas("sweep", *SWEEP, f"output={tmp_path}")
    monkeypatch.undo()
    assert stopped.status == 130
    assert "trial 2 of 3  has not ended and can be run again: stopped by the user" in stopped.out
    assert f"Continue with: resume={stopped.run}" in stopped.out
    assert [trial.state.name for trial in study(stopped.run)] == ["COMPLETE", "FAIL"]
    resumed = nas("sweep", f"resume={stopped.run}")  # at once: there is no worker to wait for
    assert resumed.status == 0, resumed.err
    trials = metrics(stopped.run)["trials"]
    assert [trial["attempts"] for trial in trials] == [1, 2, 1]
    assert [trial["objectives"] for trial in trials] == [trial["objectives"] for trial in metrics(swept.run)["trials"]]


def test_six_trials_and_four_workers_of_which_two_are_killed(tmp_path: Path) -> None:
    options = (*SWEEP, *PATIENT, *SHORT, "trainer.steps=4", "sweep.trials=6", "sweep.workers=4", f"output={tmp_path}")
    begun = Halted(tmp_path, 3, "sweep", *options)
    for worker in begun.waiting(4)[:2]:
        os.kill(worker, signal.SIGKILL)
    begun.go()
    ended = wait_for_end(begun.process)
    assert ended.status == 0, ended.err
    assert ended.out.count("A worker was killed (SIGKILL)") == 2
    found, trials = metrics(ended.run), study(ended.run)
    assert found["finished"] == 6
    assert [trial["trial"] for trial in found["trials"]] == list(range(1, 7))
    assert {trial["state"] for trial in found["trials"]} <= {"complete", "pruned"}
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) == 6
    assert len(trials) - 6 == sum(trial.state == TrialState.FAIL for trial in trials) == 2
    retried = {trial.user_attrs["retry_of"]: trial.params for trial in trials if "retry_of" in trial.user_attrs}
    assert len(retried) == 2
    for number, params in retried.items():
        assert trials[number].params.items() <= params.items()
    assert len({trial["run"] for trial in found["trials"]}) == 6


def test_workers_stop_where_their_command_is_killed_and_it_can_be_resumed(tmp_path: Path) -> None:
    options = (*SWEEP, *PATIENT, *SHORT, "trainer.steps=4", "sweep.trials=3", f"output={tmp_path}")
    begun = Halted(tmp_path, 3, "sweep", *options, "sweep.workers=2")
    begun.waiting(2)
    begun.process.kill()
    run = wait_for_end(begun.process).run
    wait_for(lambda: not any(trial.state == TrialState.RUNNING for trial in study(run)))
    assert [trial.state for trial in study(run)] == [TrialState.FAIL] * 2
    resumed = nas("sweep", *options, "sweep.workers=1", f"resume={run}")
    assert resumed.status == 0, resumed.err
    trials = study(run)
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials) == 3
