"""The queue of trials: N trials, each finished once, in any order in which workers start and die."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nas.sweeps.queue import Attribute, Queue, Slot
from nas.sweeps.storage import open_storage

STORAGES = ["sqlite:///{folder}/study.db", "journal:{folder}/study.journal"]
WORKER = """
import sys, optuna
from pathlib import Path
from nas.sweeps.queue import Attribute, Queue
from nas.sweeps.storage import open_storage
optuna.logging.set_verbosity(40)
storage = open_storage(sys.argv[1], Path())
study = optuna.create_study(study_name="study", storage=storage, load_if_exists=True)
queue = Queue(study, storage, int(sys.argv[2]), 60, 3)
while not queue.done():
    if (slot := queue.take()) is not None:
        study.tell(slot.latest.number, float(slot.number))
        print(slot.number, flush=True)
"""


class Clock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


GRACE = 60.0


def make(url: str, count: int = 3, retries: int = 3, clock: Clock | None = None) -> Queue:
    storage = open_storage(url, Path())
    study = optuna.create_study(study_name="study", storage=storage, load_if_exists=True)
    return Queue(study, storage, count, GRACE, retries, clock or Clock())


@pytest.fixture(params=STORAGES, ids=["sqlite", "journal"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.param).format(folder=tmp_path)


def took(queue: Queue) -> Slot:
    slot = queue.take()
    assert slot is not None
    return slot


def end(queue: Queue, slot: Slot) -> None:
    queue._study.tell(slot.latest.number, 1.0)


def states(queue: Queue) -> Counter[str]:
    return Counter(trial.state.name for trial in queue._study.get_trials())


def test_as_many_trials_as_asked_for_and_then_none(url: str) -> None:
    queue = make(url)
    for number in range(3):
        slot = took(queue)
        assert slot.number == number
        assert not queue.done()
        end(queue, slot)
    assert queue.take() is None
    assert queue.done()
    assert states(queue) == {"COMPLETE": 3}


def test_workers_that_take_at_once_share_the_trials(url: str) -> None:
    """Without a lock from the start of a transaction, SQLite gives some of the forty trials to two processes."""
    command = [sys.executable, "-c", WORKER, url, "40"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) for _ in range(4)]
    taken = [int(number) for worker in workers for number in worker.communicate()[0].split()]
    assert all(worker.returncode == 0 for worker in workers)
    assert sorted(taken) == list(range(40))
    assert states(make(url, 40))["COMPLETE"] == 40


def test_a_killed_workers_trial_is_run_again_once_with_its_values(url: str) -> None:
    clock = Clock()
    dead, alive = make(url), make(url, clock=clock)
    lost = took(dead)
    trial = optuna.Trial(dead._study, lost.latest._trial_id)
    value = trial.suggest_float("x", 0, 1)
    trial.set_user_attr(Attribute.RUN, "folder")
    trial.set_user_attr(Attribute.BEAT, "1")
    others = [took(alive), took(alive)]
    assert alive.take() is None
    clock.now += GRACE
    assert alive.take() is None
    clock.now += 1
    for slot in others:
        alive._storage.set_trial_user_attr(slot.latest._trial_id, Attribute.BEAT, "2")  # they live
    again = took(alive)
    assert again.number == lost.number
    assert again.latest.params == {"x": value}
    assert again.latest.user_attrs[Attribute.RUN] == "folder"
    assert alive.take() is None
    for slot in (*others, again):
        end(alive, slot)
    assert alive.done()
    assert states(alive) == {"FAIL": 1, "COMPLETE": 3}


def test_a_living_worker_keeps_its_trial(url: str) -> None:
    clock = Clock()
    owner, other = make(url, 1), make(url, 1, clock=clock)
    slot = took(owner)
    for beat in range(4):
        owner._storage.set_trial_user_attr(slot.latest._trial_id, Attribute.BEAT, str(beat))
        assert other.take() is None
        clock.now += GRACE
    end(owner, slot)
    assert other.done()


def test_two_retries_of_one_trial_count_as_one(url: str) -> None:
    first, second = make(url, 1), make(url, 1)
    slot = took(first)
    first._study.tell(slot.latest.number, state=TrialState.FAIL)
    (abandoned,) = first.slots()
    assert abandoned.abandoned
    first._retry(abandoned)  # two workers see it at once
    second._retry(abandoned)
    end(first, took(first))
    assert first.take() is None
    assert second.done()
    assert states(second) == {"FAIL": 1, "COMPLETE": 1, "WAITING": 1}


def test_a_trial_beyond_those_asked_for_is_never_run(url: str) -> None:
    queue = make(url, 2)
    for _ in range(3):  # two workers add the last one at once
        queue._study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
    end(queue, took(queue))
    end(queue, took(queue))
    assert queue.take() is None
    assert queue.done()
    end(more := make(url, 3), took(more))
    assert more.done()


def test_a_trial_that_failed_for_a_reason_is_not_run_again(url: str) -> None:
    queue = make(url, 1)
    slot = took(queue)
    queue._storage.set_trial_user_attr(slot.latest._trial_id, Attribute.REASON, "it diverged")
    queue._study.tell(slot.latest.number, state=TrialState.FAIL)
    assert queue.take() is None
    assert queue.done()


def test_a_trial_that_is_given_back_is_not_given_up(url: str) -> None:
    queue = make(url, 1, retries=0)
    for _ in range(3):
        slot = took(queue)
        queue._storage.set_trial_user_attr(slot.latest._trial_id, Attribute.LEFT, True)
        queue._study.tell(slot.latest.number, state=TrialState.FAIL)
    end(queue, took(queue))
    assert queue.done()


def test_a_trial_that_kills_every_worker_is_given_up(url: str) -> None:
    clock = Clock()
    queue = make(url, 1, retries=2, clock=clock)
    took(queue)
    for again in (True, True, False):
        assert queue.take() is None  # seen for the first time
        clock.now += GRACE + 1
        assert (queue.take() is not None) == again  # found dead
    assert queue.done()
    (slot,) = queue.slots()
    assert slot.latest.user_attrs[Attribute.REASON] == "its worker was killed, 3 times in all"
    assert len(slot.attempts) == 3


@pytest.mark.filterwarnings("ignore:The value of `grace_period`")  # too small for NFS, not for a test
def test_a_lock_that_a_killed_worker_left_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.sweeps.storage.STALE_LOCK", 1)
    monkeypatch.chdir(tmp_path)
    queue = make("journal:study.journal")  # relative: the link must be to the file all the same
    os.symlink(tmp_path / "study.journal", tmp_path / "study.journal.lock")
    end(queue, took(queue))
    assert not (tmp_path / "study.journal.lock").is_symlink()
