"""The study of a sweep: the first command that names it creates it, later commands join it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from nas.config import SweepConfig, current, flat, nested
from nas.data import build_task
from nas.data.corpus import Source
from nas.errors import UserError
from nas.pretrained.tokenizer import check_tokenizer
from nas.runs.source import source_of
from nas.searchers.optuna_parts import silence
from nas.sweeps.objectives import Objective, objectives
from nas.sweeps.options import fixed, varied
from nas.sweeps.queue import Queue, Slot
from nas.sweeps.ranges import Range, read
from nas.sweeps.samplers import build_pruner, build_sampler
from nas.sweeps.storage import open_storage, open_to_read, readable

MAX_NAME = 200
NOT_IN_NAMES = "`$\\\"'<>|&;"
"""Characters that a study name cannot have."""
MADE_FOR = "made for"
"""User attribute of a study with the space, ranges, objectives and options of its sweep."""


class Study(optuna.Study):
    """A study that samplers cannot stop: the queue of the sweep counts the trials."""

    def stop(self) -> None:
        """Ignore the call of a sampler that has tried all combinations."""


@dataclass(frozen=True)
class Plan:
    """The checked options of a sweep.

    Attributes:
        config: the config of the sweep.
        ranges: the ranges by option.
        objectives: the objectives in their order.
        measure: name of the quality measure of the task.
        source: the corpus; None if the task generates its data.
    """

    config: SweepConfig
    ranges: Mapping[str, Range]
    objectives: list[Objective]
    measure: str
    source: Source | None

    @classmethod
    def of(cls, config: SweepConfig) -> "Plan":
        """Build a plan from a config; UserError for the first option that is not allowed."""
        silence()
        sweep = config.sweep
        if not 0 < 2 * sweep.heartbeat <= sweep.grace:
            raise UserError(
                f"sweep.heartbeat={sweep.heartbeat} and sweep.grace={sweep.grace} are not allowed together; give a "
                "heartbeat over 0 and a grace of twice that or more."
            )
        _check_name(sweep.study)
        ranges = read(sweep.ranges, varied(config))
        task = build_task(config.data, config.seed)
        check_tokenizer(task, config.model)
        build_pruner(sweep, config.searcher.name)
        build_sampler(sweep, ranges, config.seed, 0)
        return cls(config, ranges, objectives(sweep, task.quality), task.quality, source_of(task))

    def made_for(self) -> dict[str, Any]:
        """Return plain values that identify the study of the sweep."""
        return {
            "space": self.config.space.name,
            "objectives": [objective.name for objective in self.objectives],
            "ranges": {option: allowed.to_plain() for option, allowed in self.ranges.items()},
            "options": fixed(self.config, self.ranges),
            "text": None if self.source is None else self.source.digest,
        }


class Sweep:
    """A plan and its study in a storage, opened by one process.

    Args:
        plan: the checked options of the sweep.
        folder: run folder of this command, which contains the run folders of its trials.
        read_only: whether to open only the study in the folder, and only to read it.
    """

    def __init__(self, plan: Plan, folder: Path, read_only: bool = False) -> None:
        self.plan, self.folder = plan, folder
        if read_only:
            self.storage = open_to_read(folder)
            self.study = self.study_for(0)
            return
        self.storage = open_storage(plan.config.sweep.storage, folder)
        with readable(plan.config.sweep.storage, folder):
            optuna.create_study(
                study_name=plan.config.sweep.study,
                storage=self.storage,
                directions=[objective.direction for objective in plan.objectives],
                load_if_exists=True,
            )
            self.study = self.study_for(0)

    def study_for(self, trial: int) -> Study:
        """Return the study with the sampler and pruner of a trial, numbered from 0."""
        config = self.plan.config
        return Study(
            study_name=config.sweep.study,
            storage=self.storage,
            sampler=build_sampler(config.sweep, self.plan.ranges, config.seed, trial),
            pruner=build_pruner(config.sweep, config.searcher.name),
        )

    def queue(self) -> Queue:
        """Return the queue of trials for one worker."""
        sweep = self.plan.config.sweep
        return Queue(self.study, self.storage, sweep.trials, sweep.grace, sweep.retries)

    def slots(self) -> list[Slot]:
        """Return the trials so far."""
        return self.queue().slots()

    def claim(self) -> None:
        """Record in the study which sweep it belongs to; UserError if it belongs to another sweep."""
        ours = self.plan.made_for()
        name = f"sweep.study={self.plan.config.sweep.study}"
        if MADE_FOR not in self.study.user_attrs:
            if self.study.get_trials(deepcopy=False):
                raise UserError(f"{name} is a study that nas.sweep did not create; give another sweep.study.")
            self.study.set_user_attr(MADE_FOR, ours)
        theirs = self.study.user_attrs[MADE_FOR]
        if different := _differences(ours, theirs):
            raise UserError(
                f"{name} was created for another sweep. Different: {'; '.join(different)}. Give the options of that "
                "sweep, or another sweep.study."
            )


def _check_name(study: str) -> None:
    """Raise a UserError for a name that a shell or a page could take for more than a name.

    A journal has the name as text, and it may come from the run folder of somebody else.
    """
    if not study.strip() or len(study) > MAX_NAME or not study.isprintable() or set(study) & set(NOT_IN_NAMES):
        raise UserError(
            f"sweep.study={study!r} is not allowed; give a name of up to {MAX_NAME} characters without any of "
            f"{' '.join(NOT_IN_NAMES)}"
        )


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return the differences between this sweep and the study, each as text."""
    found = [
        f"{key} {_as_text(ours[key])} (the study has {_as_text(theirs[key])})"
        for key in ("space", "objectives", "text")
        if key in theirs and ours[key] != theirs[key]
    ]
    for mine, its, prefix in (
        (ours["ranges"], theirs.get("ranges", {}), "sweep.ranges."),
        (ours["options"], _current(theirs.get("options", {}), ours["options"]), ""),
    ):
        found += [
            f"{prefix}{key}={_as_text(mine.get(key))} (the study has {_as_text(its.get(key))})"
            for key in {**mine, **its}
            if mine.get(key) != its.get(key)
        ]
    return found


def _current(options: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Return the options of a study, perhaps of an earlier version, as this version records them in ``ours``."""
    every = flat(current("search", nested(options)))
    return {name: str(value) for name, value in every.items() if name in options or name in ours}


def _as_text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {inner}" for key, inner in value.items() if inner not in (None, False)) + "}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
