"""Worker processes: their messages arrive in order, and so does the end of each."""

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

import pytest

from nas.errors import UserError
from nas.jobs import pool as pools
from nas.jobs.events import Began, Ended, Released
from nas.jobs.pool import Pool, Worker, start_pool
from nas.jobs.processes import GPUS

SHARED = ("nas.jobs.pool",)
METHODS = sorted({"spawn", pools.METHOD})


def work(line: Connection, offset: int) -> None:
    """Run the received jobs: a number begins and ends a job, a word ends the process in the way it names."""
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


@pytest.mark.parametrize("method", METHODS)
def test_every_message_and_every_end_is_reported(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "METHOD", method)
    jobs: list[Any] = [3, "killed", "stopped", "user error"]
    heard: list[list[Any]] = [[] for _ in jobs]
    with start_pool(len(jobs), work, 10, shared=SHARED) as pool:
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
    with start_pool(1, leave, shared=SHARED) as pool:
        (worker,) = pool.workers
        seen = []
        while pool.alive:
            for _, message in pool.messages():
                seen.append((message, worker.job))
    assert seen == [(Began(0, ""), 0), (Released(0, "taken over"), None), (None, None)]


def leave(line: Connection) -> None:
    line.send(Began(0, ""))
    line.send(Released(0, "taken over"))


def test_each_worker_has_the_commands_variables_and_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the server that forks the workers has begun with others."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    for gpus in ("4,MIG-1", "2,3"):
        monkeypatch.setenv(GPUS, gpus)
        monkeypatch.setenv("NAS_OF_THE_COMMAND", gpus)
        with start_pool(3, tell, shared=SHARED) as pool:
            first, second = gpus.split(",")
            for worker, gpu in zip(pool.workers, (first, second, first), strict=True):
                assert worker.line.recv() == dict(os.environ) | {GPUS: gpu}
        assert os.environ[GPUS] == gpus


def tell(line: Connection) -> None:
    line.send(dict(os.environ))


def test_ctrl_c_while_workers_start_stops_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    start = pools.start

    def pressed(process: Any) -> None:
        start(process)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(pools, "start", pressed)
    with start_pool(2, wait, shared=SHARED) as pool:
        while pool.alive:
            list(pool.messages())
    assert all(worker.stopped for worker in pool.workers)


def wait(line: Connection) -> None:
    line.send(os.getppid())
    line.recv()  # for ever


@pytest.mark.skipif(pools.METHOD != "forkserver", reason="workers are not forked")
def test_sigterm_for_all_processes_of_a_group_leaves_the_server_that_reports_ends() -> None:
    with start_pool(2, wait, shared=SHARED) as pool:
        os.kill(pool.workers[0].line.recv(), signal.SIGTERM)
        pool.workers[0].process.terminate()
        pool.workers[1].process.kill()
        while pool.alive:
            list(pool.messages())
    assert [worker.process.exitcode for worker in pool.workers] == [0, -signal.SIGKILL]
