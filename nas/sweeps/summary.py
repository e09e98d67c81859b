"""The metrics of a sweep as plain values: its trials so far, the best trials and the importance of the options."""

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.cli.checks import check_values
from nas.cli.deferring import deferred
from nas.config import SweepConfig, restore
from nas.errors import UserError
from nas.plugins.record import require
from nas.runs.folder import METRICS, Run, read_json
from nas.sweeps.objectives import Objective
from nas.sweeps.options import search_command
from nas.sweeps.queue import Attribute, Slot
from nas.sweeps.ranking import best, title
from nas.sweeps.storage import readable
from nas.sweeps.study import Plan, Sweep

with deferred("sklearn"), deferred("sklearn.ensemble"):  # for another evaluator; with pandas it takes two seconds
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances


def summary(sweep: Sweep) -> dict[str, Any]:
    """Return the contents of `metrics.json`."""
    slots, objectives, measure = sweep.slots(), sweep.plan.objectives, sweep.plan.measure
    given = sweep.plan.config.sweep.search
    by_objective = (
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
        "best": [
            _trial_metrics(slot) | {"command": search_command(given, slot.latest.params)}
            for slot in best(slots, objectives)
        ],
        "importances": by_objective,
        "trials": [_trial_metrics(slot) for slot in slots],
    }


def sweep_metrics(folder: Path) -> dict[str, Any]:
    """Return the metrics of a sweep: recomputed from its study, or read from `metrics.json` if that is not possible.

    Args:
        folder: run folder of a sweep that is finished, running or stopped.

    Raises:
        UserError: the folder has no sweep, or neither its study nor `metrics.json` can be read.
    """
    run, written = Run(folder), read_json(folder / METRICS)
    described = run.described()
    if described["command"] != "sweep":
        raise UserError(
            f"{folder} is a run of nas.{described['command']}, not of nas.sweep; give the folder of a sweep."
        )
    written = written if isinstance(written, dict) else None
    try:
        require(f"run={folder}", described)
        with readable(None, folder):
            return summary(_opened(folder, described["config"], written))
    except UserError:
        if written is None:
            raise
        return written


def _opened(folder: Path, stored: dict[str, Any], written: dict[str, Any] | None) -> Sweep:
    """Return the sweep of a folder, to be read only."""
    try:
        config = restore("sweep", stored)
    except ValueError as error:
        raise UserError(f"{folder} has a config that this version cannot read: {error}") from error
    assert isinstance(config, SweepConfig)
    if config.sweep.storage is not None:
        raise UserError(
            f"{folder} is a sweep with its study in {config.sweep.storage}, which only its own command opens: "
            f"python -m nas.sweep resume={folder} sweep.storage=URL"
        )
    check_values(config)
    config.sweep.trials = max(config.sweep.trials, int((written or {}).get("trials_asked_for", 0)))
    return Sweep(Plan.of(config), folder, read_only=True)


def importances(study: optuna.Study, objective: Objective, index: int) -> dict[str, float]:
    """Return the importance of each option for being among the best tenth of trials, the largest first; the sum is 1.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) compares the distribution of the best trials with that of all
    trials, and needs no further package. The result is empty if there are too few different values.
    """
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.values[index] for trial in trials}) < 2:
        return {}
    sign = -1 if objective.direction == "maximize" else 1

    def value(trial: FrozenTrial) -> float:
        return sign * float(trial.values[index])

    with warnings.catch_warnings(action="ignore"):  # it warns that smaller values count as better, as intended here
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), target=value)


def _trial_metrics(slot: Slot) -> dict[str, Any]:
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
