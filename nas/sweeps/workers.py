"""The processes of a sweep on this machine: one worker in this one, or several started from it and listened to."""

import multiprocessing
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from rich.console import Console

from nas.config import SweepConfig
from nas.errors import INTERRUPTED, UserError
from nas.jobs.display import Display
from nas.jobs.events import Began, Ended, Event, Left
from nas.jobs.processes import how_it_failed, prepare, start, stopping, was_stopped
from nas.sweeps.ranking import best_so_far
from nas.sweeps.storage import while_reachable
from nas.sweeps.study import Plan, Sweep
from nas.sweeps.worker import work


def run_workers(sweep: Sweep, console: Console) -> int:
    """Work on the study with as many processes as asked for.

    Returns:
        The exit status: 0 once every trial has ended, otherwise whether the user stopped it or the workers died.
    """
    slots, plan = sweep.slots(), sweep.plan
    finished = sum(slot.finished for slot in slots)
    best = best_so_far(slots, plan.objectives, plan.measure)
    with Display(console, "trial", plan.config.sweep.trials, finished, best) as display:
        if plan.config.sweep.workers == 1:
            return _alone(sweep, display)
        stopped = _together(sweep, display)
    return 0 if sweep.queue().done() else INTERRUPTED if stopped else 1


def _alone(sweep: Sweep, display: Display) -> int:
    with suppress(KeyboardInterrupt):
        if work(sweep, display.hear):
            return 0
    return INTERRUPTED


@dataclass
class _Worker:
    """One process: events come through ``events``; trial: the one it runs."""

    process: SpawnProcess
    events: Connection
    trial: int | None = None

    def hear(self, display: Display) -> bool:
        """Show what it tells; returns False where it has ended."""
        try:
            event: Event = self.events.recv()
        except (EOFError, OSError):
            return False
        if isinstance(event, Began | Left | Ended):
            self.trial = event.job if isinstance(event, Began) else None
        display.hear(event)
        return True


def _together(sweep: Sweep, display: Display) -> bool:
    """Start the workers and show what they tell until the last one ends; returns whether one was stopped."""
    count = sweep.plan.config.sweep.workers
    workers = [_start(sweep, number) for number in range(count)]
    with stopping([worker.process for worker in workers]):
        listening = {worker.events: worker for worker in workers}
        while listening:
            for events in wait(list(listening)):
                assert isinstance(events, Connection)
                worker = listening[events]
                if not worker.hear(display):
                    del listening[events]
                    _bury(worker, display, len(listening))
    return any(was_stopped(worker.process) for worker in workers)


def _bury(worker: _Worker, display: Display, left: int) -> None:
    """Say so where a worker did not end by itself."""
    worker.process.join()
    if worker.trial is not None:
        display.drop(worker.trial)
    if not was_stopped(worker.process):
        of = "" if worker.trial is None else f" in trial {worker.trial + 1}, which another one runs again"
        display.say(f"A worker {how_it_failed(worker.process)}{of}; {left} left.")


def _start(sweep: Sweep, number: int) -> _Worker:
    """A process of its own, with a GPU of its own where there are several."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sweep.plan.config, sweep.folder, its, os.getpid()))
    start(process, number)
    its.close()  # the worker's end is the only one, so that its death shows
    return _Worker(process, mine)


def _child(config: SweepConfig, folder: Path, events: Connection, parent: int) -> None:
    """What a worker's process does."""
    prepare(config.sweep.workers)
    try:
        with while_reachable(config.sweep.storage, folder):
            work(Sweep(Plan.of(config), folder), events.send, parent)
    except (KeyboardInterrupt, BrokenPipeError):
        return  # stopped, or nobody listens: its trial is run again
    except UserError as error:
        sys.exit(f"error: {error}")
