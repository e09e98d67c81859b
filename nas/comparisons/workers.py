"""The processes of a comparison: one training after the other in this one, or several workers that are given them."""

import os
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

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
from nas.jobs.pool import Worker, start_pool

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


def _together(jobs: Jobs, count: int, display: Display) -> bool:
    """Give trainings to workers and show what they report; returns False where the user stopped one."""
    given: dict[Worker, Job] = {}
    stopped = False
    with start_pool(count, _work) as pool:
        while True:
            for worker in pool.alive:
                if worker not in given and not stopped and (job := jobs.take()) is not None:
                    given[worker] = job
                    with suppress(BrokenPipeError):  # it has just died, which its line tells next
                        worker.line.send((jobs.train_config(job), jobs.number(job), job.tunes))
            if not given:
                return not stopped
            for worker, message in pool.messages():
                if message is None:
                    stopped |= worker.stopped
                    _bury(worker, given.pop(worker, None), jobs, display)
                elif isinstance(message, bool):
                    jobs.end(given.pop(worker))
                    stopped |= not message
                else:
                    display.hear(_counted(message, jobs), worker.number)


def _counted(event: Event, jobs: Jobs) -> Event:
    """Add to an event of a worker what it does not know: how many trainings are done, this one among them."""
    return replace(event, finished=len(jobs.done) + 1) if isinstance(event, Ended) else event


def _bury(worker: Worker, job: Job | None, jobs: Jobs, display: Display) -> None:
    """Take the training of a worker whose process has ended as ended, and say so if the process failed."""
    display.drop(worker.number)
    if job is not None:
        jobs.end(job)
    if worker.failure:
        display.say(f"A worker {worker.failure}{'' if job is None else f' in {job.name}'}.")


def _work(line: Connection, parent: int) -> None:
    """Make the trainings that the command sends, until it sends no more or the user stops one."""
    go_on = True
    while go_on:
        try:
            config, number, tunes = line.recv()
        except EOFError:
            return
        go_on = work(config, number, tunes, line.send, parent)
        line.send(go_on)
