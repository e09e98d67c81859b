"""Worker processes on one machine: started together, heard as they report, reported where one dies, ended together."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from nas.errors import UserError
from nas.jobs.events import Began, Ended, Left
from nas.jobs.processes import how_it_failed, prepare, start, stopping, was_stopped
from nas.plugins.loading import LOADED

Work = Callable[..., None]
"""What a worker does: called with its end of the line, the process id of the command, and arguments of its owner."""


@dataclass(eq=False)
class Worker:
    """One worker process.

    Attributes:
        number: its number among the workers of its command, from 0.
        process: the process.
        line: the command's end of the connection to it.
        job: number of the job that it works on, or died in; None between jobs.
    """

    number: int
    process: SpawnProcess
    line: Connection
    job: int | None = None

    def receive(self) -> Any:
        """Return the next message of the worker; None once its process has ended."""
        try:
            message = self.line.recv()
        except (EOFError, OSError):
            self.process.join()
            return None
        if isinstance(message, Began):
            self.job = message.job
        elif isinstance(message, Left | Ended):
            self.job = None
        return message

    @property
    def stopped(self) -> bool:
        """Whether the process has ended because the user stopped it, or with its work done."""
        return was_stopped(self.process)

    @property
    def failure(self) -> str | None:
        """How the process failed, as text for the user; None if it did not fail."""
        return None if self.stopped else how_it_failed(self.process)


class Pool:
    """The workers of one command.

    Attributes:
        workers: all of them.
        alive: those whose end has not been reported.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers
        self.alive = list(workers)

    def messages(self) -> Iterator[tuple[Worker, Any]]:
        """Wait until workers report, then yield each of these workers with its message; None is its end."""
        by_line = {worker.line: worker for worker in self.alive}
        for line in wait(list(by_line)):
            assert isinstance(line, Connection)
            worker = by_line[line]
            message = worker.receive()
            if message is None:
                self.alive.remove(worker)
            yield worker, message

    def close(self) -> None:
        """Close the lines, which ends workers that wait for a job, and wait for the last process to end."""
        for worker in self.workers:
            worker.line.close()
        for worker in self.workers:
            worker.process.join()


@contextmanager
def start_pool(count: int, work: Work, *arguments: object) -> Iterator[Pool]:
    """Start workers, each with a GPU of its own if there are several; Ctrl-C and SIGTERM reach all until they end.

    Args:
        count: number of workers.
        work: what each one does; a function of a module, since its process imports it.
        arguments: for ``work``; plain values.
    """
    pool = Pool([_started(number, count, work, arguments) for number in range(count)])
    with stopping([worker.process for worker in pool.workers]):
        try:
            yield pool
        finally:
            pool.close()


def _started(number: int, count: int, work: Work, arguments: Sequence[object]) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, count, [*LOADED.values()], os.getpid(), work, arguments))
    start(process, number)
    theirs.close()  # the worker holds the only copy of its end, so that its death shows
    return Worker(number, process, ours)


def _run(
    line: Connection, count: int, plugins: list[str], parent: int, work: Work, arguments: Sequence[object]
) -> None:
    """Work in the worker's process until there is nothing left, the user stops it, or the command is gone."""
    try:
        prepare(count, plugins)
        work(line, parent, *arguments)
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        return
    except UserError as error:
        sys.exit(f"error: {error}")
