"""What a comparison is about to train, and about how long it takes."""

from pathlib import Path

import pytest
import torch

from nas.comparisons import estimate
from nas.comparisons.estimate import STEPS, plan, step_seconds
from nas.data import build_task
from tests.nas.comparisons.test_jobs import made


def test_trainings_and_their_duration_are_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01]", "workers=3", "trainer.steps=600", "trainer.validate_every=100")
    task = build_task(jobs.config.data, 0)
    timed: list[int] = []

    def in_half_a_second(config: object, contender: object, task: object, workers: int) -> tuple[float, int]:
        timed.append(workers)
        return 0.5, 3

    monkeypatch.setattr(estimate, "step_seconds", in_half_a_second)
    each = "4 trainings of 600 steps and up to 76,800 tokens each"
    ten_minutes = "about 10 minutes of training on this machine with 3 workers, estimated from 3 training steps of"
    assert plan(jobs.config, jobs.contenders, task) == f"{each}, {ten_minutes} softmax"
    assert plan(jobs.config, jobs.contenders, task, 3).startswith(
        f"{each}, 3 of them done, about 5 minutes of training"
    )
    assert timed == [3, 1]
    assert plan(jobs.config, jobs.contenders, task, 4) == f"{each}, 4 of them done"
    assert plan(jobs.config, jobs.contenders, task, 4, added=2).startswith("6 trainings of 600 steps and up to")
    assert timed == [3, 1, 2]
    monkeypatch.setattr(estimate, "root_device", lambda trainer: torch.device("cuda"))
    monkeypatch.setattr(estimate, "least_seconds", lambda config, parameters, device: 0.5)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert plan(jobs.config, jobs.contenders, task) == each, "a bound of seconds says nothing"
    monkeypatch.setattr(estimate, "least_seconds", lambda config, parameters, device: 3600.0)
    assert plan(jobs.config, jobs.contenders, task) == f"{each}, at least 2 hours at the peak speed of this machine"


def test_all_candidates_of_a_search_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = ("trainer.steps=600", "trainer.validate_every=1000")
    search = "layer_hybrid name=halved searcher=halving space.operations=[softmax,linear] budget.target=1"
    jobs = made(tmp_path, "learning_rates=[0.01]", *long, "workers=1", f"searched=['{search}']")
    task = build_task(jobs.config.data, 0)
    monkeypatch.setattr(estimate, "step_seconds", lambda *_: (0.5, 3))
    assert plan(jobs.config, jobs.contenders, task).startswith(
        "6 trainings of 600 steps and up to 76,800 tokens each (all candidates of a search together: 1,500 steps in "
        "halved), about 45 minutes of training on this machine, estimated from 3 training steps of halved"
    )


def test_timing_steps_leaves_random_numbers_and_threads(tmp_path: Path) -> None:
    jobs = made(tmp_path)
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    seconds, steps = step_seconds(jobs.config, jobs.contenders[0], build_task(jobs.config.data, 0), workers=64)
    assert seconds > 0
    assert 1 <= steps <= STEPS
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
