"""One training of a comparison: its events, and the merit for choosing a learning rate."""

import json
from pathlib import Path

import pytest

from nas.comparisons.jobs import SELECTION, TUNING, Job
from nas.comparisons.training import work
from nas.jobs.events import Began, Ended, Event, Released, Stepped
from tests.nas.comparisons.test_jobs import made


def test_a_tuning_training_reports_its_steps_and_writes_its_merit(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01,0.1]", "trainer.steps=2", "tuning_factors=[1,2]")
    job, heard = Job(jobs.contenders[1], 0.01, TUNING, tunes=True), list[Event]()
    assert work(jobs.config_of(job), 3, jobs.factors(job), heard.append)
    assert heard[0] == Began(3, job.name)
    assert [(one.step, one.steps) for one in heard if isinstance(one, Stepped)] == [(1, 2), (2, 2)]
    assert isinstance(heard[-1], Ended)
    assert heard[-1].outcome.startswith("recall 1x 0.")
    run = jobs.result(job)
    assert run is not None
    merits = json.loads((run.path / SELECTION).read_text())["merits"]
    assert list(merits) == ["1", "2"]
    assert len(set(merits.values())) == 2, "measured at two lengths"
    assert all(isinstance(merit, float) for merit in merits.values())


def test_what_cannot_be_trained_is_left_with_its_reason(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01]")
    config, heard = jobs.config_of(Job(jobs.contenders[0], 0.01, 0, tunes=False)), list[Event]()
    config.trainer.steps = 0
    assert work(config, 0, [], heard.append)
    assert heard[1:] == [Released(0, "trainer.steps=0 is not allowed; give 1 or more.")]


def test_an_error_of_the_program_leaves_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("nas.comparisons.training.run_training", fail)
    jobs = made(tmp_path, "learning_rates=[0.01]")
    job, heard = Job(jobs.contenders[0], 0.01, 0, tunes=False), list[Event]()
    assert work(jobs.config_of(job), 0, [], heard.append)
    assert isinstance(heard[1], Released)
    assert heard[1].reason.startswith("RuntimeError: out of memory (see ")
    assert "RuntimeError: out of memory" in (tmp_path / "errors" / f"{job.name}.txt").read_text()


def test_it_stops_where_the_process_that_started_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.comparisons.training.orphaned", lambda: True)
    jobs = made(tmp_path, "learning_rates=[0.01]")
    heard = list[Event]()
    config = jobs.config_of(Job(jobs.contenders[1], 0.01, 0, tunes=False))
    assert not work(config, 0, [], heard.append)
    assert heard[-1] == Released(0, "stopped")
    assert sum(isinstance(one, Stepped) for one in heard) == 1
