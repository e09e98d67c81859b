"""Which trials are best: by one objective, or the Pareto front of several; and how they are told of."""

import math
from collections.abc import Mapping, Sequence

from optuna.trial import TrialState

from nas.cli.overrides import Value
from nas.evaluation.pareto import front
from nas.sweeps.objectives import QUALITY, Objective
from nas.sweeps.queue import Slot


def complete(slots: Sequence[Slot]) -> list[Slot]:
    """Those whose search came to its end."""
    return [slot for slot in slots if slot.latest.state == TrialState.COMPLETE]


def losses(slot: Slot, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Its objectives, each so that smaller is better."""
    values = slot.latest.values
    return tuple(
        -value if objective.direction == "maximize" else value
        for value, objective in zip(values, objectives, strict=True)
    )


def ranked(slots: Sequence[Slot], objectives: Sequence[Objective]) -> list[Slot]:
    """The complete ones, the best first; by the first objective where there are several."""
    return sorted(complete(slots), key=lambda slot: losses(slot, objectives))


def best(slots: Sequence[Slot], objectives: Sequence[Objective]) -> list[Slot]:
    """The Pareto front, sorted by the first objective: those to which no other is better in one objective and at least
    as good in all; the first of equals.
    """
    first = {losses(slot, objectives): slot for slot in reversed(ranked(slots, objectives))}
    apart = sorted(first)
    return [first[apart[index]] for index in front(apart)]


def figures(values: Sequence[float], objectives: Sequence[Objective], measure: str) -> str:
    """Objectives as text."""
    return ", ".join(
        f"{title(objective.name, measure)} {number(value)}" for value, objective in zip(values, objectives, strict=True)
    )


def title(objective: str, measure: str) -> str:
    """What an objective is called: quality by what it measures."""
    return (measure if objective == QUALITY else objective).replace("_", " ")


def number(value: float) -> str:
    """Short, as tables have it; whole numbers as they are."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if math.isfinite(value) else "-"


def chosen(values: Mapping[str, Value]) -> str:
    """The values of a trial as text."""
    return "  ".join(f"{option}={short(value)}" for option, value in values.items())


def short(value: Value) -> str:
    """Three digits tell a value in a table; the line to run has all."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def best_so_far(slots: Sequence[Slot], objectives: Sequence[Objective], measure: str) -> str:
    """The best trials as text; empty where none is complete."""
    leading = best(slots, objectives)
    if not leading:
        return ""
    numbers = ", ".join(str(slot.number + 1) for slot in leading)
    if len(objectives) > 1:
        return f"Pareto front: trial{'s' * (len(leading) > 1)} {numbers}"
    return f"best {figures(leading[0].latest.values, objectives, measure)} (trial {numbers})"
