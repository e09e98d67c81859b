"""The verdict on a sweep: sentences on its best trials, to read before all tables and charts."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.budget.cost import LONG
from nas.report.units import context, size
from nas.runs.metrics import read_metrics
from nas.sweeps.charts import COMPLETE, Trial, titles
from nas.sweeps.ranking import chosen, number

SHOWN = 3
"""Largest number of trials of a Pareto front in the sentences."""


def verdict(metrics: Mapping[str, Any], folder: Path) -> list[str]:
    """Return sentences on the best trials: options of a single best one, objectives, and the cost of the models.

    Args:
        metrics: metrics of the sweep, see `nas.sweeps.summary.summary`.
        folder: run folder of the sweep.

    Returns:
        No sentence if no trial is complete.
    """
    best, names = metrics["best"], titles(metrics)
    if not best:
        return []
    count = sum(trial["state"] == COMPLETE for trial in metrics["trials"])
    of = f"{count} complete trial{'s' * (count > 1)}"
    if len(names) > 1:
        some = "" if len(best) <= SHOWN else f"; the first {SHOWN} of them follow"
        sentences = [f"The Pareto front of {' and '.join(names.values())} has {len(best)} of {of}{some}."]
    else:
        values = chosen(best[0]["values"]).replace("  ", ", ")
        sentences = [f"Trial {best[0]['trial']} is the best of {of}, with {values}."]
    for trial in best[:SHOWN]:
        figures = ", ".join(f"{name} {number(trial['objectives'][key])}" for key, name in names.items())
        sentences += [f"Trial {trial['trial']} has {figures}.", *_model(trial, folder)]
    return [*sentences, "Each trial is a single training, so small differences may be noise."]


def _model(trial: Trial, folder: Path) -> list[str]:
    """Return sentences on a trial's model, what it learnt and its cost; none if its run folder has no metrics."""
    try:
        metrics = read_metrics(folder / "search" / Path(trial["run"] or "none").name)
    except ValueError:
        return []
    share, cache = metrics.learnt.at_training_length.share, metrics.cost.kv_bytes.get(LONG, math.nan)
    cost = f"Its softmax share is {number(share)}, and its cache takes {size(cache)} at {context(LONG)} tokens."
    return [*metrics.verdict[:1], cost]
