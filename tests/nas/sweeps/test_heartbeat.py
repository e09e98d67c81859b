"""Heartbeats of a trial, and the reasons for which it must stop."""

import os
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

from nas.sweeps.heartbeat import TAKEN_OVER, Heartbeat
from nas.sweeps.queue import Attribute
from tests.nas.processes import wait_for


def running() -> tuple[optuna.Study, optuna.Trial]:
    study = optuna.create_study()
    return study, study.ask()


def test_a_beat_changes_while_the_block_runs_and_not_after_it() -> None:
    study, trial = running()

    def beat() -> str:
        return str(study.trials[0].user_attrs.get(Attribute.BEAT, "none"))

    with Heartbeat(study._storage, trial._trial_id, 0.01) as heart:
        wait_for(lambda: beat() not in ("none", f"{os.getpid()} 1"))
        assert heart.stop is None
    last = beat()
    assert last.startswith(f"{os.getpid()} ")
    assert not heart._thread.is_alive()
    assert beat() == last


@pytest.mark.parametrize(
    ("error", "stops"), [(UpdateFinishedTrialError, True), (StorageInternalError, False)], ids=["taken over", "away"]
)
def test_a_trial_that_another_worker_has_stops_and_one_whose_storage_is_away_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], stops: bool
) -> None:
    study, trial = running()
    beats: list[Any] = []

    def fail(*given: Any) -> None:
        beats.append(given)
        raise error

    monkeypatch.setattr(study._storage, "set_trial_user_attr", fail)
    with Heartbeat(study._storage, trial._trial_id, 0.01) as heart:
        wait_for(lambda: len(beats) > 1)
        assert heart.stop == (TAKEN_OVER if stops else None)


def test_a_worker_whose_command_is_gone_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.sweeps.heartbeat.orphaned", lambda: True)
    study, trial = running()
    with Heartbeat(study._storage, trial._trial_id, 0.01) as heart:
        wait_for(lambda: heart.stop is not None)
    assert heart.stop == "the command that started this worker is gone"
