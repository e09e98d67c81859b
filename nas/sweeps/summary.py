"""A sweep as plain values: its trials, the best of them and what mattered, as they stand now."""

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from nas.config import SweepConfig, restore
from nas.errors import UserError
from nas.plugins.record import require
from nas.runs.folder import METRICS, Run, read_json
from nas.sweeps.objectives import Objective
from nas.sweeps.options import line
from nas.sweeps.queue import Attribute, Slot
from nas.sweeps.ranking import best, title
from nas.sweeps.storage import DATABASE
from nas.sweeps.study import Plan, Sweep


def summary(sweep: Sweep) -> dict[str, Any]:
    """What `metrics.json` tells."""
    slots, objectives, measure = sweep.slots(), sweep.plan.objectives, sweep.plan.measure
    given = sweep.plan.config.sweep.search
    mattered = (
        {
            title(objective.name, measure): importances(sweep.study, objective, index)
            for index, objective in enumerate(objectives)
        }
        if len(sweep.plan.ranges) > 1
        else {}
    )
    return {
        "study": sweep.plan.config.sweep.study,
        "objectives": {objective.name: objective.direction for objective in objectives},
        "quality": measure,
        "ranges": {option: allowed.to_plain() for option, allowed in sweep.plan.ranges.items()},
        "finished": sum(slot.finished for slot in slots),
        "trials_asked_for": sweep.plan.config.sweep.trials,
        "best": [_described(slot) | {"command": line(given, slot.latest.params)} for slot in best(slots, objectives)],
        "importances": mattered,
        "trials": [_described(slot) for slot in slots],
    }


def standing(folder: Path) -> dict[str, Any]:
    """What `metrics.json` would tell of a sweep that is running or was stopped; what it told where that is finished.

    UserError where the folder is not of a sweep, or its study cannot be read.
    """
    run, written = Run(folder), read_json(folder / METRICS)
    described = run.described()
    if described["command"] != "sweep":
        raise UserError(f"{folder} is of nas.{described['command']}, not of nas.sweep.")
    written = written if isinstance(written, dict) else None
    try:
        require(f"run={folder}", described)
        return summary(_opened(folder, described["config"], written))
    except UserError:
        if written is None:
            raise
        return written


def _opened(folder: Path, stored: dict[str, Any], written: dict[str, Any] | None) -> Sweep:
    """The sweep of a folder, to be looked at."""
    try:
        config = restore("sweep", stored)
    except ValueError as error:
        raise UserError(f"{folder} has a config that is none of this version: {error}") from error
    assert isinstance(config, SweepConfig)
    if config.sweep.storage is None and not (folder / DATABASE).exists():
        raise UserError(f"{folder / DATABASE} is missing, so there is nothing to tell of this sweep.")
    config.sweep.trials = max(config.sweep.trials, (written or {}).get("trials_asked_for", 0))
    return Sweep(Plan.of(config), folder)


def importances(study: optuna.Study, objective: Objective, index: int) -> dict[str, float]:
    """How much each option's value decided whether a trial is among the best tenth; the largest first, 1 in all.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) compares where the best trials lie with where all lie, and needs
    neither a forest nor its package. Empty where trials are too few or too alike to tell.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.values[index] for trial in trials}) < 2:
        return {}
    sign = -1 if objective.direction == "maximize" else 1

    def value(trial: FrozenTrial) -> float:
        return sign * float(trial.values[index])

    with warnings.catch_warnings(action="ignore"):  # that it takes smaller values for better: they are
        return optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), target=value)


def _described(slot: Slot) -> dict[str, Any]:
    trial = slot.latest
    seconds = trial.duration.total_seconds() if trial.duration else None
    notes = trial.user_attrs
    return {
        "trial": slot.number + 1,
        "state": trial.state.name.lower(),
        "objectives": notes.get(Attribute.FIGURES),
        "values": trial.params,
        "reason": notes.get(Attribute.REASON) or notes.get(Attribute.PRUNED),
        "run": notes.get(Attribute.RUN),
        "attempts": len(slot.attempts),
        "seconds": seconds,
    }
