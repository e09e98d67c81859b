"""The workers of a sweep on this machine: one in this process, or several in processes that it starts."""

from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from rich.console import Console

from nas.config import SweepConfig
from nas.errors import INTERRUPTED
from nas.jobs.display import Display
from nas.jobs.pool import start_pool
from nas.sweeps.ranking import best_so_far
from nas.sweeps.storage import while_reachable
from nas.sweeps.study import Plan, Sweep
from nas.sweeps.worker import work

SHARED = ("nas.jobs.libraries", "nas.sweeps.workers")
"""Modules that workers import once."""


def run_workers(sweep: Sweep, console: Console) -> int:
    """Run the trials of a sweep with ``sweep.workers`` processes.

    Returns:
        The exit status: 0 if every trial is finished, `INTERRUPTED` if the user stopped a worker, 1 if the workers
        died.
    """
    slots, plan = sweep.slots(), sweep.plan
    finished = sum(slot.finished for slot in slots)
    best = best_so_far(slots, plan.objectives, plan.measure)
    with Display(console, "trial", plan.config.sweep.trials, finished, best) as display:
        if plan.config.sweep.workers == 1:
            return _run_here(sweep, display)
        stopped = _run_in_workers(sweep, display)
    return 0 if sweep.queue().done() else INTERRUPTED if stopped else 1


def _run_here(sweep: Sweep, display: Display) -> int:
    """Run trials in this process; return the exit status."""
    with suppress(KeyboardInterrupt):
        if work(sweep, display.show):
            return 0
    return INTERRUPTED


def _run_in_workers(sweep: Sweep, display: Display) -> bool:
    """Start the workers and show their events until the last worker ends; return whether one was stopped."""
    config = sweep.plan.config
    with start_pool(config.sweep.workers, _work, config, sweep.folder, shared=SHARED) as pool:
        while pool.alive:
            for worker, event in pool.messages():
                if event is not None:
                    display.show(event, worker.number)
                    continue
                display.drop(worker.number)
                if worker.failure:
                    trial = "" if worker.job is None else f" in trial {worker.job + 1}, which is to be run again"
                    display.say(f"A worker {worker.failure}{trial}; {len(pool.alive)} left.")
    return any(worker.stopped for worker in pool.workers)


def _work(line: Connection, config: SweepConfig, folder: Path) -> None:
    """Run trials in a worker's process; if it is stopped or the command is gone, its trial is run again."""
    with while_reachable(config.sweep.storage, folder):
        work(Sweep(Plan.of(config), folder), line.send)
