"""The study of a sweep: made by the first command that names it, joined by those after."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from nas.config import SweepConfig
from nas.data import build_task
from nas.errors import UserError
from nas.searchers.optuna_parts import silence
from nas.sweeps.objectives import Objective, objectives
from nas.sweeps.options import compose_search, fixed, names
from nas.sweeps.queue import Queue, Slot
from nas.sweeps.ranges import Range, read
from nas.sweeps.samplers import build_pruner, build_sampler
from nas.sweeps.storage import open_storage

MADE_FOR = "made for"
"""User attribute of a study: the space, ranges, objectives and options of its sweep."""


class Study(optuna.Study):
    """A study whose trials are counted elsewhere: samplers that have tried everything do not end it."""

    def stop(self) -> None:
        """Samplers call it."""


@dataclass(frozen=True)
class Plan:
    """What a sweep will do, checked before anything is written. measure: how the task measures quality."""

    config: SweepConfig
    ranges: Mapping[str, Range]
    objectives: list[Objective]
    measure: str

    @classmethod
    def of(cls, config: SweepConfig) -> "Plan":
        """UserError for the first option that cannot work."""
        silence()
        sweep = config.sweep
        if not 0 < 2 * sweep.heartbeat <= sweep.grace:
            raise UserError(
                f"sweep.heartbeat={sweep.heartbeat} and sweep.grace={sweep.grace} cannot work: give a heartbeat over 0 "
                "and a grace of twice that or more."
            )
        search = compose_search(sweep.search)
        ranges = read(sweep.ranges, names(search))
        task = build_task(config.data, config.seed)
        build_pruner(sweep)
        build_sampler(sweep, ranges, config.seed, 0)
        return cls(config, ranges, objectives(sweep, task.quality), task.quality)

    def made_for(self) -> dict[str, Any]:
        """By what two studies can be told apart."""
        return {
            "space": self.config.space.name,
            "objectives": [objective.name for objective in self.objectives],
            "ranges": {option: allowed.to_plain() for option, allowed in self.ranges.items()},
            "options": fixed(self.config, self.ranges),
        }


class Sweep:
    """A plan and its study in a storage, as one process has it.

    Args:
        plan: see there.
        folder: of this command; trials leave their run folders in it.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.storage = open_storage(plan.config.sweep.storage, folder)
        optuna.create_study(
            study_name=plan.config.sweep.study,
            storage=self.storage,
            directions=[objective.direction for objective in plan.objectives],
            load_if_exists=True,
        )
        self.study = self.study_for(0)

    def study_for(self, trial: int) -> Study:
        """The study with the sampler and pruner for a trial, which is numbered from 0."""
        config = self.plan.config
        return Study(
            study_name=config.sweep.study,
            storage=self.storage,
            sampler=build_sampler(config.sweep, self.plan.ranges, config.seed, trial),
            pruner=build_pruner(config.sweep),
        )

    def queue(self) -> Queue:
        """The trials still to be run, for one worker."""
        sweep = self.plan.config.sweep
        return Queue(self.study, self.storage, sweep.trials, sweep.grace, sweep.retries)

    def slots(self) -> list[Slot]:
        """The trials so far."""
        return self.queue().slots()

    def claim(self) -> None:
        """Say what the study is for if nobody has; UserError where it is for something else."""
        ours = self.plan.made_for()
        name = f"sweep.study={self.plan.config.sweep.study}"
        if MADE_FOR not in self.study.user_attrs:
            if self.study.get_trials(deepcopy=False):
                raise UserError(f"{name} is a study that nas.sweep has not made; give another name.")
            self.study.set_user_attr(MADE_FOR, ours)
        theirs = self.study.user_attrs[MADE_FOR]
        if different := _differences(ours, theirs):
            raise UserError(
                f"{name} was made for another sweep. Different: {'; '.join(different)}. Give the options it was made "
                "with, or another sweep.study."
            )


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """In what a study differs from this sweep, as sentences' parts."""
    found = [
        f"{key} {_told(ours[key])} (it has {_told(theirs.get(key))})"
        for key in ("space", "objectives")
        if ours[key] != theirs.get(key)
    ]
    for kind, prefix in (("ranges", "sweep.ranges."), ("options", "")):
        mine, its = ours[kind], theirs.get(kind, {})
        found += [
            f"{prefix}{key}={_told(mine.get(key))} (it has {_told(its.get(key))})"
            for key in {**mine, **its}
            if mine.get(key) != its.get(key)
        ]
    return found


def _told(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {inner}" for key, inner in value.items() if inner not in (None, False)) + "}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
