"""A sweep: Optuna over the outer hyperparameters of a search; each trial is a search with its own run folder."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from nas.cli.composing import compose_search
from nas.config import SweepConfig
from nas.console import say
from nas.errors import UserError
from nas.runs.folder import METRICS
from nas.runs.opening import opened
from nas.runs.secrets import storage_of_environment
from nas.runs.source import keep_source
from nas.sweeps.finish import finish
from nas.sweeps.options import given_search
from nas.sweeps.queue import Slot
from nas.sweeps.ranking import best
from nas.sweeps.storage import DATABASE, readable, while_reachable
from nas.sweeps.study import Plan, Sweep
from nas.sweeps.workers import run_workers


def sweep(config: SweepConfig, console: Console) -> int:
    """Run one sweep, or its part on this machine, and return the exit status."""
    if config.resume is None:
        config.sweep.storage = config.sweep.storage or storage_of_environment()
    config.sweep.search = config.sweep.search or given_search(config)
    compose_search(config.sweep.search)
    plan = Plan.of(config)
    if config.sweep.storage is not None:
        Sweep(plan, Path()).claim()
    with opened("sweep", config) as run, while_reachable(config.sweep.storage, run.path):
        keep_source(run, plan.source, console)
        _require_study(config, run.path)
        here = Sweep(plan, run.path)
        here.claim()
        say(
            console,
            f"Sweeping {config.space.name} on {config.data.name}, {_so_far(_slots(here), config.sweep.trials)}, "
            f"run folder {run.path}",
        )
        status = run_workers(here, console)
        any_complete = finish(here, run, console)
    if status:
        say(console, f"Continue with: resume={run.path}")
    return status or int(not any_complete)


def _slots(sweep: Sweep) -> list[Slot]:
    """Return the trials so far; UserError if their study is damaged, or lost although the run folder has trials."""
    with readable(sweep.plan.config.sweep.storage, sweep.folder):
        slots = sweep.slots()
        best(slots, sweep.plan.objectives)
    if not slots and _has_trials(sweep.folder):
        raise UserError(
            f"the study {sweep.plan.config.sweep.study} of {sweep.folder} has no trials, but the folder has; restore "
            "the study from a copy, or start a new sweep."
        )
    return slots


def _has_trials(folder: Path) -> bool:
    """Return whether trials have run in the folder of a sweep."""
    return (folder / METRICS).exists() or (folder / "search").exists()


def _require_study(config: SweepConfig, folder: Path) -> None:
    """Raise a UserError if a sweep has trials but no longer the study that records them."""
    database = folder / DATABASE
    if config.sweep.storage is None and _has_trials(folder) and not (database.exists() and database.stat().st_size):
        raise UserError(
            f"{database} is missing or empty, but this sweep has trials; restore it from a copy, or start a new sweep."
        )


def _so_far(slots: Sequence[Slot], trials: int) -> str:
    """Return the number of trials as text, with the number of finished ones if the study exists."""
    finished = sum(slot.finished for slot in slots)
    return f"{trials} trials" if not slots else f"joining a study with {finished} of {trials} trials finished"
