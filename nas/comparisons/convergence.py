"""Convergence: whether the validation quality of a contender still improved at the end of its trainings."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from nas.comparisons.results import Comparison, TrainedContender
from nas.evaluation.metrics import HIGHER
from nas.evaluation.noise import Estimate, margin
from nas.runs.history import VALIDATION

LATE = 0.2
"""Last part of the training steps over which the improvement is measured."""


def late_gain(history: Sequence[Mapping[str, float]], measure: str) -> float | None:
    """Return the improvement of the validation quality in the last fifth of a training, positive if it got better.

    It is None if there is no validation before that.

    Args:
        history: logged scalars by step, see `nas.runs.history.history`.
        measure: name of the quality measure.
    """
    name = f"{VALIDATION}{measure}"
    found = [(entry["step"], entry[name]) for entry in history if name in entry]
    before = [quality for step, quality in found if step <= (1 - LATE) * found[-1][0]]
    if not before:
        return None
    gain = found[-1][1] - before[-1]
    return gain if HIGHER[measure] else -gain


def still_improving(comparison: Comparison) -> dict[str, float]:
    """Return the mean late gain of each contender that has not converged, by name.

    A contender has not converged if its mean late gain is larger than the noise. The noise is half the width of the
    confidence interval of the mean gain over seeds. With one seed it is that of the quality over validation sequences.
    """
    gains = {contender.name: _gain(contender) for contender in comparison.contenders}
    return {name: gain.mean for name, gain in gains.items() if gain is not None and gain.better(0.0, higher=True)}


def _gain(contender: TrainedContender) -> Estimate | None:
    """Return the mean late gain over the trainings that did not diverge; None if it is not known."""
    gains = [run.late_gain for run in contender.runs if run.late_gain is not None and math.isfinite(run.late_gain)]
    if not gains:
        return None
    noise = margin(gains) if len(gains) > 1 else contender.runs[0].margin.get(1, math.nan)
    return Estimate(fmean(gains), noise)
