"""Worker processes on one machine: a pool that starts them, receives their messages and ends them."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from nas.errors import UserError, warn
from nas.jobs.events import Began, Ended, Released
from nas.jobs.processes import Setup, failure_of, gpu_of, prepare, start, stopping, was_stopped
from nas.plugins.loading import LOADED

TO_END = 60.0
"""Seconds for which the command waits at its end until its workers have ended."""
TO_STOP = 30.0
"""Seconds for which a worker may save a checkpoint after SIGTERM; then it is killed."""
METHOD = "forkserver" if sys.platform == "linux" else "spawn"
"""How processes of workers start; libraries of macOS do not work in forks."""
Work = Callable[..., None]
"""Function that a worker runs: called with its end of the line and further arguments."""


@dataclass(eq=False)
class Worker:
    """One worker process.

    Attributes:
        number: its number among the workers of its command, from 0.
        process: the process.
        line: the command's end of the connection to it.
        job: number of the job that it works on, or worked on when it died; None between jobs.
    """

    number: int
    process: BaseProcess
    line: Connection
    job: int | None = None

    def receive(self) -> Any:
        """Return the next message of the worker; None once its process has ended."""
        try:
            message = self.line.recv()
        except (EOFError, OSError):
            self.end(TO_END)
            return None
        if isinstance(message, Began):
            self.job = message.job
        elif isinstance(message, Released | Ended):
            self.job = None
        return message

    def end(self, seconds: float) -> None:
        """Wait until the process has ended; after ``seconds``, end it with a warning."""
        self.process.join(seconds)
        if not self.process.is_alive():
            return
        warn(f"worker {self.number} (process {self.process.pid}) has not ended after {TO_END:g} s; it is terminated.")
        self.process.terminate()
        self.process.join(TO_STOP)
        self.process.kill()
        self.process.join()

    @property
    def stopped(self) -> bool:
        """Return whether the process was stopped by the user or has completed its work."""
        return was_stopped(self.process)

    @property
    def failure(self) -> str | None:
        """Return how the process failed, as text for the user; None if it did not fail."""
        return None if self.stopped else failure_of(self.process)


class Pool:
    """The workers of one command.

    Attributes:
        workers: all workers.
        alive: the workers whose end has not been reported.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers
        self.alive = list(workers)

    def messages(self) -> Iterator[tuple[Worker, Any]]:
        """Wait for messages, then yield each worker that sent one with its message; None reports the worker's end."""
        by_line = {worker.line: worker for worker in self.alive}
        for line in wait(list(by_line)):
            assert isinstance(line, Connection)
            worker = by_line[line]
            message = worker.receive()
            if message is None:
                self.alive.remove(worker)
            yield worker, message

    def close(self) -> None:
        """Close the lines, which ends workers that wait for a job, and wait until all processes have ended.

        A worker ends when it sends its next message at the latest. One that does not end in time is terminated.
        """
        for worker in self.workers:
            worker.line.close()
        latest = time.monotonic() + TO_END
        for worker in self.workers:
            worker.end(max(0.0, latest - time.monotonic()))


@contextmanager
def start_pool(count: int, work: Work, *arguments: object, shared: Sequence[str]) -> Iterator[Pool]:
    """Start workers, each with a GPU of its own if there are several; Ctrl-C and SIGTERM stop all of them.

    On Linux, one server process imports modules, and all workers are forks of it: they share the time and the memory of
    these imports. Elsewhere each worker is a new process.

    Args:
        count: number of workers.
        work: function that each worker runs, at the top level of a module because each process imports it.
        arguments: further arguments of ``work``; plain values.
        shared: modules that the server imports. Their import must neither start threads nor initialise CUDA, which
            do not survive a fork.
    """
    with stopping() as forward_to:
        pool = Pool([_started(number, count, work, arguments, shared) for number in range(count)])
        forward_to([worker.process for worker in pool.workers])
        try:
            yield pool
        finally:
            pool.close()


def _started(number: int, count: int, work: Work, arguments: Sequence[object], shared: Sequence[str]) -> Worker:
    context: Any = multiprocessing.get_context(METHOD)
    context.set_forkserver_preload([*shared])
    ours, theirs = context.Pipe()
    setup = Setup(count, [*LOADED.values()], os.environ | gpu_of(number))
    process = context.Process(target=_run, args=(theirs, setup, work, arguments))
    start(process)
    theirs.close()  # the worker holds the only copy of its end, so that its death shows
    return Worker(number, process, ours)


def _run(line: Connection, setup: Setup, work: Work, arguments: Sequence[object]) -> None:
    """Run ``work`` in the worker's process until it returns, the user stops it, or the command is gone."""
    try:
        prepare(setup)
        work(line, *arguments)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        return
    except UserError as error:
        sys.exit(f"error: {error}")
