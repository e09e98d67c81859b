"""The processes of a sweep on this machine: one worker in this one, or several started from it and listened to."""

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


def _together(sweep: Sweep, display: Display) -> bool:
    """Start the workers and show what they report until the last one ends; return whether one was stopped."""
    config = sweep.plan.config
    with start_pool(config.sweep.workers, _work, config, sweep.folder) as pool:
        while pool.alive:
            for worker, event in pool.messages():
                if event is not None:
                    display.hear(event, worker.number)
                    continue
                display.drop(worker.number)
                if worker.failure:
                    of = "" if worker.job is None else f" in trial {worker.job + 1}, which another one runs again"
                    display.say(f"A worker {worker.failure}{of}; {len(pool.alive)} left.")
    return any(worker.stopped for worker in pool.workers)


def _work(line: Connection, parent: int, config: SweepConfig, folder: Path) -> None:
    """Run trials in a worker's process. One that is stopped, or that nobody listens to, leaves its trial to others."""
    with while_reachable(config.sweep.storage, folder):
        work(Sweep(Plan.of(config), folder), line.send, parent)
