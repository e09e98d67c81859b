"""The end of a sweep: the best trials, the line that runs them again, what mattered; told and written down."""

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from nas.run import METRICS, TENSORBOARD, Run
from nas.sweeps.hparams import log_trial
from nas.sweeps.objectives import Objective
from nas.sweeps.options import line
from nas.sweeps.plots import HISTORY, PARETO, plot
from nas.sweeps.queue import Attribute, Slot
from nas.sweeps.ranking import best, complete, number, ranked, short, title
from nas.sweeps.study import Sweep

SHOWN = 5
"""Trials in the table."""
LINES = 5
"""Lines to run of a Pareto front."""


def answer(sweep: Sweep, run: Run, console: Console) -> bool:
    """Write and tell what came out; returns whether any trial is worth something."""
    slots, objectives, measure = sweep.slots(), sweep.plan.objectives, sweep.plan.measure
    front, given = best(slots, objectives), sweep.plan.config.sweep.search
    mattered = (
        {
            title(objective, measure): importances(sweep.study, objective, index)
            for index, objective in enumerate(objectives)
        }
        if len(sweep.plan.ranges) > 1
        else {}
    )
    for slot in slots:
        if slot.finished:
            log_trial(run.path, slot.number, slot.latest, objectives)
    run.write_json(
        METRICS,
        {
            "study": sweep.plan.config.sweep.study,
            "objectives": {objective.name: objective.direction for objective in objectives},
            "quality": measure,
            "finished": sum(slot.finished for slot in slots),
            "trials_asked_for": sweep.plan.config.sweep.trials,
            "best": [_described(slot) | {"command": line(given, slot.latest.params)} for slot in front],
            "importances": mattered,
            "trials": [_described(slot) for slot in slots],
        },
    )
    _tell_failures(slots, console)
    if not front:
        _say(console, "No trial came to its end, so there is no answer.")
        return False
    console.print(_table(slots, front, objectives, measure, list(sweep.plan.ranges)))
    for name, shares in mattered.items():
        if shares:
            told = ", ".join(f"{option} {share:.2f}" for option, share in shares.items())
            _say(console, f"What mattered for {name} (PED-ANOVA, {len(complete(slots))} trials): {told}")
    picture = PARETO if len(objectives) > 1 else HISTORY
    plot(run.path / picture, slots, objectives, measure)
    _tell_lines(front, given, console)
    _say(console, f"See {run.path / picture}, or compare with: tensorboard --logdir {run.path / TENSORBOARD}")
    return True


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


def _table(
    slots: Sequence[Slot], front: Sequence[Slot], objectives: Sequence[Objective], measure: str, options: list[str]
) -> Table:
    """The best trials side by side: what came of them, and their values; the best one in bold."""
    several = len(objectives) > 1
    shown = front if several else ranked(slots, objectives)
    ended = f"{len(complete(slots))} of {len(slots)} trials came to their end"
    table = Table(
        title="The Pareto front" if several else "The best trials",
        caption=ended if len(shown) <= SHOWN else f"{ended}; {SHOWN} of {len(shown)} are shown",
    )
    table.add_column("trial")
    for slot in shown[:SHOWN]:
        bold = slot in front and not several
        table.add_column(str(slot.number + 1), justify="right", style="bold" if bold else "")
    for index, objective in enumerate(objectives):
        table.add_row(title(objective, measure), *(number(slot.latest.values[index]) for slot in shown[:SHOWN]))
    table.add_section()
    for option in options:
        table.add_row(option, *(short(slot.latest.params[option]) for slot in shown[:SHOWN]))
    return table


def _tell_failures(slots: Sequence[Slot], console: Console) -> None:
    """The reasons of trials that failed, the most frequent first."""
    failed = [slot.latest for slot in slots if slot.finished and slot.latest.state == TrialState.FAIL]
    for reason, count in Counter(trial.user_attrs[Attribute.REASON] for trial in failed).most_common(LINES):
        _say(console, f"{count} trial{'s' * (count > 1)} failed: {reason}")


def _tell_lines(front: Sequence[Slot], given: list[str], console: Console) -> None:
    _say(console, "Run the best again with:" if len(front) == 1 else "Run one of the front again with:")
    for slot in front[:LINES]:
        _say(console, f"  {line(given, slot.latest.params)}")
    if len(front) > LINES:
        _say(console, f"  and {len(front) - LINES} more in {METRICS}")


def _say(console: Console, sentence: str) -> None:
    """Print a sentence as it is: what is in it is neither markup nor broken over lines."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
