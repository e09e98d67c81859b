"""Worker processes: their messages arrive in order, and so does the end of each."""

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

import pytest

from nas.errors import UserError
from nas.jobs.events import Began, Ended, Released
from nas.jobs.pool import Pool, Worker, start_pool


def work(line: Connection, parent: int, offset: int) -> None:
    """Run the received jobs: a number begins and ends a job, a word ends the process in the way it names."""
    assert os.getppid() == parent
    while True:
        try:
            job = line.recv()
        except EOFError:
            return
        if job == "user error":
            raise UserError("no storage")
        line.send(Began(job + offset if isinstance(job, int) else offset, "chosen"))
        if job == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if job == "stopped":
            os.kill(os.getpid(), signal.SIGTERM)
        line.send(Ended(job + offset, "well", 0, ""))


def test_every_message_and_every_end_is_reported() -> None:
    jobs: list[Any] = [3, "killed", "stopped", "user error"]
    heard: list[list[Any]] = [[] for _ in jobs]
    with start_pool(len(jobs), work, 10) as pool:
        for worker, job in zip(pool.workers, jobs, strict=True):
            worker.line.send(job)
        while len(pool.alive) > 1 or len(heard[0]) < 2:
            for worker, message in pool.messages():
                heard[pool.workers.index(worker)].append(message)
        assert pool.alive == [pool.workers[0]]
        assert pool.workers[0].process.is_alive()
    began = Began(10, "chosen")
    assert heard == [[Began(13, "chosen"), Ended(13, "well", 0, "")], [began, None], [began, None], [None]]
    assert [worker.job for worker in pool.workers] == [None, 10, 10, None]
    failures = [None, "was killed (SIGKILL)", None, "failed (exit status 1)"]
    assert [worker.failure for worker in pool.workers] == failures
    assert [worker.stopped for worker in pool.workers] == [True, False, True, False]
    assert not any(worker.process.is_alive() for worker in pool.workers)


def test_a_worker_that_does_not_end_is_terminated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nas.jobs.pool.TO_END", 0.0)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=time.sleep, args=(3600,))
    process.start()
    Pool([Worker(3, process, context.Pipe()[0])]).close()
    assert process.exitcode == -signal.SIGTERM
    said = f"warning: worker 3 (process {process.pid}) has not ended after 0 s; it is terminated."
    assert capsys.readouterr().err.strip() == said


def test_a_released_job_is_no_longer_its_workers() -> None:
    with start_pool(1, leave) as pool:
        (worker,) = pool.workers
        seen = []
        while pool.alive:
            for _, message in pool.messages():
                seen.append((message, worker.job))
    assert seen == [(Began(0, ""), 0), (Released(0, "taken over"), None), (None, None)]


def leave(line: Connection, parent: int) -> None:
    line.send(Began(0, ""))
    line.send(Released(0, "taken over"))
