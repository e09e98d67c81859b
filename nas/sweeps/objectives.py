"""The objectives of a sweep: figures of a finished search, each to be maximized or minimized."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from nas.budget.cost import CONTEXTS
from nas.config import StudyConfig
from nas.errors import UserError
from nas.evaluation.metrics import HIGHER
from nas.runs.metrics import Metrics

QUALITY = "quality"

Direction = Literal["maximize", "minimize"]


class Objective(NamedTuple):
    """One objective.

    Attributes:
        name: the name in ``sweep.objectives``.
        direction: the direction as Optuna names it.
        of: function from the metrics of a search to the figure; nan if the search has none.
    """

    name: str
    direction: Direction
    of: Callable[[Metrics], float]

    def best(self, values: list[float]) -> float:
        """Return the best of several values."""
        return max(values) if self.direction == "maximize" else min(values)


def objectives(study: StudyConfig, measure: str) -> list[Objective]:
    """Return the objectives of a study.

    Args:
        study: options of the study.
        measure: name of the quality measure of the task.

    Raises:
        UserError: an objective is unknown or given twice, or costs are not measured at the context length.
    """
    context = study.context
    known: dict[str, Callable[[Metrics], float]] = {
        QUALITY: lambda metrics: metrics.learnt.at_training_length.quality,
        "share": lambda metrics: metrics.learnt.at_training_length.share,
        "kv_bytes": lambda metrics: metrics.cost.kv_bytes[context],
        "flops": lambda metrics: metrics.cost.flops_per_token[context],
        "parameters": lambda metrics: metrics.cost.parameters,
        "seconds": lambda metrics: metrics.training_seconds,
    }
    if not study.objectives:
        raise UserError(f"sweep.objectives is empty; give one or more of: {', '.join(known)}.")
    for name in study.objectives:
        if name not in known:
            raise UserError(f"sweep.objectives has {name}, which is unknown; choose from: {', '.join(known)}.")
        if study.objectives.count(name) > 1:
            raise UserError(f"sweep.objectives has {name} twice; give each objective once.")
    if study.context not in CONTEXTS:
        raise UserError(
            f"sweep.context={study.context} is not measured; choose one of: {', '.join(map(str, CONTEXTS))}."
        )
    return [Objective(name, _direction(name, measure), known[name]) for name in study.objectives]


def _direction(name: str, measure: str) -> Direction:
    return "maximize" if name == QUALITY and HIGHER[measure] else "minimize"


def diverged(metrics: Metrics) -> str | None:
    """Return why the figures of a finished search cannot be used; None if they can."""
    if not math.isfinite(metrics.learnt.at_training_length.loss):
        return "training diverged: the loss of the final model is not a finite number"
    return None
