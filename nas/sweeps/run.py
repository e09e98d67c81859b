"""A sweep: Optuna over the outer hyperparameters of a search; each trial is a search with its own run folder."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nas.config import SweepConfig
from nas.console import say
from nas.runs.folder import start
from nas.runs.source import keep_source
from nas.sweeps.finish import finish
from nas.sweeps.options import given_search
from nas.sweeps.queue import Slot
from nas.sweeps.storage import while_reachable
from nas.sweeps.study import Plan, Sweep
from nas.sweeps.workers import run_workers


def sweep(config: SweepConfig, console: Console) -> int:
    """Run one sweep, or its part on this machine, and return the exit status."""
    config.sweep.search = config.sweep.search or given_search()
    plan = Plan.of(config)
    if config.sweep.storage is not None:
        Sweep(plan, Path()).claim()
    run = start("sweep", config)
    keep_source(run, plan.source, console)
    here = Sweep(plan, run.path)
    here.claim()
    say(
        console,
        f"Sweeping {config.space.name} on {config.data.name}, {_so_far(here.slots(), config.sweep.trials)}, "
        f"run folder {run.path}",
    )
    with while_reachable(config.sweep.storage, run.path):
        status = run_workers(here, console)
        any_complete = finish(here, run, console)
    if status:
        say(console, f"Continue with: resume={run.path}")
    return status or int(not any_complete)


def _so_far(slots: Sequence[Slot], trials: int) -> str:
    """Return the number of trials as text, with the number of finished ones if the study exists."""
    finished = sum(slot.finished for slot in slots)
    return f"{trials} trials" if not slots else f"joining a study with {finished} of {trials} trials finished"
