"""The processes of a comparison: one training after the other in this one, or several workers that are given them."""

import multiprocessing
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import torch
from rich.console import Console

from nas.comparisons.contenders import parameters
from nas.comparisons.jobs import Job, Jobs
from nas.comparisons.training import work
from nas.distributed.devices import AUTO
from nas.distributed.strategies import root_device
from nas.errors import INTERRUPTED
from nas.jobs.display import Display
from nas.jobs.events import Ended, Event
from nas.jobs.processes import how_it_failed, prepare, start, stopping, was_stopped

SMALL = 20_000_000
"""Parameters up to which several trainings share a GPU."""
SIDE_BY_SIDE = 12
"""That do so."""


def run_jobs(jobs: Jobs, console: Console) -> int:
    """Make all trainings that are not there yet.

    Returns:
        The exit status: 0 once every training is done, otherwise whether the user stopped it or some failed.
    """
    with Display(console, "training", len(jobs), len(jobs.done), "") as display:
        workers = min(_workers(jobs), len(jobs) - len(jobs.done))
        went_on = _alone(jobs, display) if workers <= 1 else _together(jobs, workers, display)
    if len(jobs.done) == len(jobs):
        return 0
    return 1 if went_on else INTERRUPTED


def _workers(jobs: Jobs) -> int:
    """How many trainings to make at a time: small models leave most of a GPU, and of many cores, to others."""
    if jobs.config.workers != AUTO:
        return int(jobs.config.workers)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    device = root_device(jobs.config.trainer)
    if device.type == "cpu":
        return cores
    small = max(parameters(one.architecture) for one in jobs.contenders) <= SMALL
    return min(cores, max(1, torch.cuda.device_count()) * (SIDE_BY_SIDE if small else 1))


def _alone(jobs: Jobs, display: Display) -> bool:
    """In this process; returns False where the user stopped it."""
    with suppress(KeyboardInterrupt):
        while (job := jobs.take()) is not None:
            heard: list[Event] = []

            def tell(event: Event, heard: list[Event] = heard) -> None:
                heard[:] = [event]
                if not isinstance(event, Ended):
                    display.hear(event)

            go_on = work(jobs.train_config(job), jobs.number(job), job.tunes, tell)
            jobs.end(job)
            if isinstance(heard[0], Ended):
                display.hear(replace(heard[0], finished=len(jobs.done)))
            if not go_on:
                return False
        return True
    return False


@dataclass
class _Worker:
    """One process, which is given jobs and tells of them through ``line``; job: the one it has."""

    process: SpawnProcess
    line: Connection
    job: Job | None = None

    def give(self, jobs: Jobs) -> None:
        """The next training, if there is one now."""
        self.job = jobs.take()
        if self.job is not None:
            with suppress(BrokenPipeError):  # it has just died, which its line tells next
                self.line.send((jobs.train_config(self.job), jobs.number(self.job), self.job.tunes))


def _together(jobs: Jobs, count: int, display: Display) -> bool:
    """Give trainings to workers and show what they tell; returns False where the user stopped one."""
    workers = [_start(number, count) for number in range(count)]
    stopped = False
    with stopping([worker.process for worker in workers]):
        for worker in workers:
            worker.give(jobs)
        listening = {worker.line: worker for worker in workers}
        while any(worker.job for worker in listening.values()):
            for line in wait([line for line, worker in listening.items() if worker.job]):
                assert isinstance(line, Connection)
                worker = listening[line]
                try:
                    told: Event | bool = line.recv()
                except (EOFError, OSError):
                    del listening[line]
                    stopped |= _bury(worker, jobs, display)
                    continue
                if isinstance(told, bool):
                    assert worker.job is not None
                    jobs.end(worker.job)
                    worker.job = None
                    stopped |= not told
                    continue
                display.hear(_counted(told, jobs))
            for worker in listening.values():
                if worker.job is None and not stopped:
                    worker.give(jobs)
        for line in listening:
            line.close()  # nothing is left: it ends
        for worker in workers:
            worker.process.join()
    return not stopped


def _counted(event: Event, jobs: Jobs) -> Event:
    """What a worker told, with what it does not know: how many are done, this one among them."""
    return replace(event, finished=len(jobs.done) + 1) if isinstance(event, Ended) else event


def _bury(worker: _Worker, jobs: Jobs, display: Display) -> bool:
    """Say so where a worker did not end by itself; returns whether the user ended it."""
    worker.process.join()
    assert worker.job is not None
    with suppress(KeyError):
        display.drop(jobs.number(worker.job))
    jobs.end(worker.job)
    if not was_stopped(worker.process):
        display.say(f"A worker {how_it_failed(worker.process)} in {worker.job.name}.")
    worker.job = None
    return was_stopped(worker.process)


def _start(number: int, count: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=_child, args=(its, count, os.getpid()))
    start(process, number)
    its.close()  # the worker's end is the only one, so that its death shows
    return _Worker(process, mine)


def _child(line: Connection, count: int, parent: int) -> None:
    """What a worker's process does."""
    prepare(count)
    with suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        go_on = True
        while go_on:
            config, number, tunes = line.recv()
            go_on = work(config, number, tunes, line.send, parent)
            line.send(go_on)
