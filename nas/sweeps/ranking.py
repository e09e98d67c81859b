"""Rank trials by one objective, or find the Pareto front of several; format trials as text."""

import math
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState

from nas.cli.overrides import Value
from nas.evaluation.pareto import front
from nas.sweeps.objectives import QUALITY, Objective
from nas.sweeps.queue import Slot


def complete(slots: Sequence[Slot]) -> list[Slot]:
    """Return the slots whose trial is complete."""
    return [slot for slot in slots if slot.latest.state == TrialState.COMPLETE]


def losses(slot: Slot, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the objectives of a complete trial, with signs so that smaller is better."""
    values = slot.latest.values
    return tuple(
        -value if objective.direction == "maximize" else value
        for value, objective in zip(values, objectives, strict=True)
    )


def ranked(slots: Sequence[Slot], objectives: Sequence[Objective]) -> list[Slot]:
    """Return the complete trials, the best first; the first objective decides before the others."""
    return sorted(complete(slots), key=lambda slot: losses(slot, objectives))


def best(slots: Sequence[Slot], objectives: Sequence[Objective]) -> list[Slot]:
    """Return the Pareto front of the complete trials, sorted by the first objective; of equal trials the first.

    With one objective it is the best trial.
    """
    first = {losses(slot, objectives): slot for slot in reversed(ranked(slots, objectives))}
    distinct = sorted(first)
    return [first[distinct[index]] for index in front(distinct)]


def figures(values: Sequence[float], objectives: Sequence[Objective], measure: str) -> str:
    """Return the values of the objectives as text."""
    return ", ".join(
        f"{title(objective.name, measure)} {number(value)}" for value, objective in zip(values, objectives, strict=True)
    )


def title(objective: str, measure: str) -> str:
    """Return the title of an objective; quality has the name of its measure."""
    return (measure if objective == QUALITY else objective).replace("_", " ")


def number(value: float) -> str:
    """Return a number with three decimals, or without decimals from 1000 on; "-" if it is not finite."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if math.isfinite(value) else "-"


def chosen(values: Mapping[str, Value]) -> str:
    """Return the values of a trial as text."""
    return "  ".join(f"{option}={short(value)}" for option, value in values.items())


def short(value: Value) -> str:
    """Return a value as text; floating-point numbers have three digits, unlike in the printed commands."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def best_so_far(slots: Sequence[Slot], objectives: Sequence[Objective], measure: str) -> str:
    """Return the best trials as text; empty if no trial is complete."""
    leading = best(slots, objectives)
    if not leading:
        return ""
    numbers = ", ".join(str(slot.number + 1) for slot in leading)
    if len(objectives) > 1:
        return f"Pareto front: trial{'s' * (len(leading) > 1)} {numbers}"
    return f"best {figures(leading[0].latest.values, objectives, measure)} (trial {numbers})"
