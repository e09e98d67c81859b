"""The processes of a comparison: trainings run one after the other in this process, or in several workers."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection

import torch
from rich.console import Console

from nas.comparisons.contenders import Contender, parameters
from nas.comparisons.jobs import Job, Jobs
from nas.comparisons.training import work
from nas.config import CompareConfig
from nas.distributed.devices import AUTO
from nas.distributed.strategies import root_device
from nas.errors import INTERRUPTED
from nas.jobs.display import Display
from nas.jobs.events import Ended, Event
from nas.jobs.pool import Worker, start_pool
from nas.jobs.processes import cores

SHARED = ("nas.jobs.libraries", "nas.comparisons.workers")
"""Modules that workers import once."""
SMALL = 20_000_000
"""Largest number of parameters with which several trainings share a GPU."""
SIDE_BY_SIDE = 12
"""Number of small trainings that share a GPU."""


def run_jobs(jobs: Jobs, console: Console) -> int:
    """Run all trainings that are not done.

    Returns:
        The exit status: 0 if every training is done, `INTERRUPTED` if the user stopped one, 1 if one failed.
    """
    with Display(console, "training", len(jobs), len(jobs.done), "") as display:
        workers = min(at_a_time(jobs.config, jobs.contenders), len(jobs) - len(jobs.done))
        completed = _run_here(jobs, display) if workers <= 1 else _run_in_workers(jobs, workers, display)
    if len(jobs.done) == len(jobs):
        return 0
    return 1 if completed else INTERRUPTED


def at_a_time(config: CompareConfig, contenders: Sequence[Contender]) -> int:
    """Return the number of trainings to run at a time: small models share GPUs and cores."""
    if config.workers != AUTO:
        return int(config.workers)
    device = root_device(config.trainer)
    if device.type == "cpu":
        return cores()
    small = max(parameters(one.architecture) for one in contenders) <= SMALL
    return min(cores(), max(1, torch.cuda.device_count()) * (SIDE_BY_SIDE if small else 1))


def _run_here(jobs: Jobs, display: Display) -> bool:
    """Run the trainings in this process; return False if the user stopped one."""
    with suppress(KeyboardInterrupt):
        while (job := jobs.take()) is not None:
            latest: list[Event] = []

            def report(event: Event, latest: list[Event] = latest) -> None:
                latest[:] = [event]
                if not isinstance(event, Ended):
                    display.show(event)

            proceed = work(jobs.config_of(job), jobs.number(job), jobs.factors(job), report)
            jobs.end(job)
            display.expect(len(jobs))
            if isinstance(latest[0], Ended):
                display.show(replace(latest[0], finished=len(jobs.done)))
            if not proceed:
                return False
        return True
    return False


def _run_in_workers(jobs: Jobs, count: int, display: Display) -> bool:
    """Distribute the trainings to workers and show their events; return False if the user stopped one."""
    given: dict[Worker, Job] = {}
    stopped = False
    with start_pool(count, _work, shared=SHARED) as pool:
        while True:
            for worker in pool.alive:
                if worker not in given and not stopped and (job := jobs.take()) is not None:
                    given[worker] = job
                    with suppress(BrokenPipeError):  # the worker has just died; its line reports the end next
                        worker.line.send((jobs.config_of(job), jobs.number(job), jobs.factors(job)))
            if not given:
                return not stopped
            for worker, message in pool.messages():
                if message is None:
                    stopped |= worker.stopped
                    _end_worker(worker, given.pop(worker, None), jobs, display)
                elif isinstance(message, bool):
                    jobs.end(given.pop(worker))
                    display.expect(len(jobs))
                    stopped |= not message
                else:
                    display.show(_with_count(message, jobs), worker.number)


def _with_count(event: Event, jobs: Jobs) -> Event:
    """Add the number of finished trainings, including the event's own, to the event of a worker."""
    return replace(event, finished=len(jobs.done) + 1) if isinstance(event, Ended) else event


def _end_worker(worker: Worker, job: Job | None, jobs: Jobs, display: Display) -> None:
    """Record the end of the training of a worker whose process has ended, and show a failure of the process."""
    display.drop(worker.number)
    if job is not None:
        jobs.end(job)
    if worker.failure:
        display.say(f"A worker {worker.failure}{'' if job is None else f' in {job.name}'}.")


def _work(line: Connection) -> None:
    """Run the trainings that the command sends, until it closes the line or the user stops one."""
    proceed = True
    while proceed:
        try:
            config, number, factors = line.recv()
        except EOFError:
            return
        proceed = work(config, number, factors, line.send)
        line.send(proceed)
