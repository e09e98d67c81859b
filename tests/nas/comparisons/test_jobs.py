"""The trainings of a comparison, their order, and the choice of the learning rate."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from nas.comparisons.contenders import contenders
from nas.comparisons.jobs import SELECTION, TRAININGS, Job, Jobs
from nas.runs.folder import METRICS
from tests.nas.commands import SMALL, composed


def made(folder: Path, *options: str) -> Jobs:
    config = composed("compare", *SMALL, "baselines=[softmax,linear]", "seeds=2", *options)
    return Jobs(config, contenders(config, [], 24), folder)


def finish(jobs: Jobs, job: Job, merit: float | None = 0.0, finished: bool = True) -> None:
    path = jobs.folder / TRAININGS / f"2026-01-01_00-00-00_{job.name}"
    path.mkdir(parents=True)
    (path / METRICS).write_text(json.dumps({"finished": finished}))
    if job.tunes:
        (path / SELECTION).write_text(json.dumps({"merits": {"1": merit}}))


def test_those_that_count_follow_once_their_learning_rate_is_known(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01,0.001,0.1]", "seed=5", "tuning_seeds=1", "added_rates=0")
    assert len(jobs) == 2 * 3 + 2 * 2
    merits = {("softmax", 0.01): 0.3, ("softmax", 0.001): 0.3, ("softmax", 0.1): None}
    merits |= {("linear", 0.001): 0.1, ("linear", 0.01): 0.1, ("linear", 0.1): 0.2}
    numbers = []
    tuned = [job for _ in range(6) if (job := jobs.take())]
    assert all(job.tunes and job.seed == 1005 for job in tuned)
    assert jobs.take() is None, "nothing more is known yet"
    for job in tuned:
        finish(jobs, job, merits[job.contender.name, job.learning_rate])
        jobs.end(job)
        numbers.append(jobs.number(job))
    counted = [job for _ in range(4) if (job := jobs.take())]
    assert [(job.contender.name, job.learning_rate, job.seed) for job in counted] == [
        *(("softmax", 0.001, 5), ("linear", 0.1, 5), ("softmax", 0.001, 6), ("linear", 0.1, 6))
    ], "of two that are as good the smaller rate, and none that diverged"
    assert jobs.take() is None
    assert numbers + [jobs.number(job) for job in counted] == list(range(10))
    assert jobs.merits(jobs.contenders[0]) == {0.01: 0.3, 0.001: 0.3, 0.1: -math.inf}


def test_one_learning_rate_needs_no_tuning(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01]")
    assert len(jobs) == 4
    job = jobs.take()
    assert job is not None
    assert not job.tunes
    assert jobs.merits(job.contender) == {}


def test_a_learning_rate_counts_by_its_worst_seed_over_all_lengths(tmp_path: Path) -> None:
    """The rate 0.01 fails at 2x with one seed; an earlier version wrote the merit of the training length alone."""
    merits = {(0.01, 1000): {"1": 0.9, "2": 0.9}, (0.01, 1001): {"1": 0.9, "2": 0.1}}
    merits |= {(0.1, 1000): {"1": 0.6, "2": 0.6}, (0.1, 1001): {"1": 0.7, "2": 0.5}}
    jobs = made(tmp_path, "learning_rates=[0.01,0.1]", "added_rates=0")
    while job := jobs.take():
        if not job.tunes:
            break
        finish(jobs, job)
        written = {"merit": 0.2} if job.contender.name == "linear" else {"merits": merits[job.learning_rate, job.seed]}
        (jobs.folder / TRAININGS / f"2026-01-01_00-00-00_{job.name}" / SELECTION).write_text(json.dumps(written))
        jobs.end(job)
    assert jobs.merits(jobs.contenders[0]) == pytest.approx({0.01: 0.5, 0.1: 0.6})
    assert jobs.best_rate(jobs.contenders[0]) == 0.1
    assert jobs.merits(jobs.contenders[1]) == pytest.approx({0.01: 0.2, 0.1: 0.2})
    jobs.config.tuned_by = "mean"
    assert jobs.best_rate(jobs.contenders[0]) == 0.01


def test_the_grid_grows_while_an_end_is_best(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.001,0.01]", "tuning_seeds=1", "added_rates=2")
    before, tuned, numbers = len(jobs), list[tuple[str, float]](), list[int]()
    while (job := jobs.take()) and job.tunes:
        tuned.append((job.contender.name, job.learning_rate))
        numbers.append(jobs.number(job))
        best = 0.1 if job.contender.name == "softmax" else 1e-9
        finish(jobs, job, -abs(job.learning_rate - best))
        jobs.end(job)
    assert [rate for name, rate in tuned if name == "softmax"] == [0.001, 0.01, 0.1, 1.0], "0.1 is no end, with 1.0"
    assert [rate for name, rate in tuned if name == "linear"] == [0.001, 0.01, 1e-4, 1e-5], "two at most are added"
    assert [jobs.best_rate(one) for one in jobs.contenders] == [0.1, 1e-5]
    assert len(jobs) == before + 4
    assert len(set(numbers)) == len(numbers)
    assert min(numbers[4:]) == before, "added trainings are numbered last"
    again = Jobs(jobs.config, jobs.contenders, jobs.folder)
    assert len(again.done) == 8 == len(again) - 4


def test_hand_designed_hybrids_alone_get_a_dense_start(tmp_path: Path) -> None:
    jobs = made(tmp_path, "dense_start=true")
    found = replace(jobs.contenders[1], searched=True)
    configs = [jobs.config_of(Job(one, 0.01, 0, tunes=False)) for one in (jobs.contenders[0], found)]
    assert [config.dense_start for config in configs] == [True, False]


def test_placements_are_tuned_at_a_single_learning_rate(tmp_path: Path) -> None:
    options = ("learning_rates=[0.01]", "baselines=[softmax,sl..ls]", "tuning_seeds=2")
    jobs = made(tmp_path, *options)
    assert len(jobs) == 3 * 2 + 2 * 2
    first = [job for _ in range(10) if (job := jobs.take())]
    assert [(job.contender.name, job.seed) for job in first if job.tunes] == [
        *(("sl", 1000), ("ls", 1000), ("sl", 1001), ("ls", 1001))
    ]
    assert [job.contender.name for job in first if not job.tunes] == ["softmax"] * 2
    for job in first:
        finish(jobs, job, 0.5)
        jobs.end(job)
    assert jobs.merits(jobs.contenders[1]) == {0.01: 0.5}
    assert jobs.merits(jobs.contenders[0]) == {}


def test_what_tunes_is_measured_at_its_own_length_alone(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01,0.1]", "data.length_factors=[1,2]")
    one = jobs.contenders[0]
    assert jobs.config_of(Job(one, 0.01, 1000, tunes=True)).data.length_factors == [1]
    assert jobs.config_of(Job(one, 0.01, 0, tunes=False)).data.length_factors == [1, 2]


def test_what_is_done_is_not_made_again_and_what_failed_is_told(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01]")
    every = [job for _ in range(4) if (job := jobs.take())]
    finish(jobs, every[0])
    finish(jobs, every[1], finished=False)
    for job in every[:2]:
        jobs.end(job)
    assert jobs.done == {every[0].name}
    assert jobs.failed == {every[1].name}
    again = made(tmp_path, "learning_rates=[0.01]")
    assert again.done == {every[0].name}
    assert again.take() == every[1]


def test_the_options_of_a_training(tmp_path: Path) -> None:
    jobs = made(tmp_path, "learning_rates=[0.03]", "trainer.learning_rate=0.01", "trainer.router_learning_rate=0.02")
    job = jobs.take()
    assert job is not None
    config = jobs.config_of(job)
    assert config.trainer.learning_rate == 0.03
    assert config.trainer.router_learning_rate == pytest.approx(0.06), "in proportion"
    assert (config.seed, config.resume, config.output) == (0, None, str(tmp_path))
    assert json.loads(Path(config.architecture).read_text()) == job.contender.architecture.to_dict()


def test_searches_begin_first_since_they_take_longest(tmp_path: Path) -> None:
    options = ("searched=[layer_hybrid]", "baselines=[softmax]", "learning_rates=[0.01,0.1]", "tuning_seeds=2")
    jobs = made(tmp_path, *options)
    taken = [job for _ in range(8) if (job := jobs.take())]
    assert [(job.contender.name, job.seed) for job in taken] == [
        *([("searched_layer_hybrid", 1000)] * 2 + [("searched_layer_hybrid", 1001)] * 2),
        *([("softmax", 1000)] * 2 + [("softmax", 1001)] * 2),
    ]


@pytest.mark.parametrize("place", ["checkpoints", "candidates/1/checkpoints", "alignment/checkpoints"])
def test_a_stopped_training_goes_on_from_any_of_its_checkpoints(tmp_path: Path, place: str) -> None:
    jobs = made(tmp_path, "learning_rates=[0.01]")
    job = jobs.take()
    assert job is not None
    stopped = tmp_path / TRAININGS / f"2026-01-01_00-00-00_{job.name}"
    (stopped / place).mkdir(parents=True)
    assert jobs.config_of(job).resume is None
    (stopped / place / "step=000000002.ckpt").touch()
    assert jobs.config_of(job).resume == str(stopped)
