"""What a sweep is for: figures of a finished search, each to be made larger or smaller."""

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
    """One figure of a search. direction: as Optuna has it; of: reads the figure, nan where a search has none."""

    name: str
    direction: Direction
    of: Callable[[Metrics], float]

    def best(self, values: list[float]) -> float:
        """The best of several."""
        return max(values) if self.direction == "maximize" else min(values)


def objectives(study: StudyConfig, measure: str) -> list[Objective]:
    """The objectives of a study; UserError for one that there is not.

    Args:
        study: its options.
        measure: how the task measures quality.
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
            raise UserError(f"sweep.objectives has {name}, which is unknown; choose among: {', '.join(known)}.")
        if study.objectives.count(name) > 1:
            raise UserError(f"sweep.objectives has {name} twice.")
    if study.context not in CONTEXTS:
        raise UserError(
            f"sweep.context={study.context} is not measured; choose one of: {', '.join(map(str, CONTEXTS))}."
        )
    return [Objective(name, _direction(name, measure), known[name]) for name in study.objectives]


def _direction(name: str, measure: str) -> Direction:
    return "maximize" if name == QUALITY and HIGHER[measure] else "minimize"


def diverged(metrics: Metrics) -> str | None:
    """Why the figures of a finished search cannot be used; None if they can."""
    if not math.isfinite(metrics.learnt.at_training_length.loss):
        return "training diverged: the loss of what was learnt is not a finite number"
    return None
