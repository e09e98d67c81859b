"""Which differences between architectures are more than the noise of their seeds.

Seeds pair the trainings of two entrants: they share their data and their order. Of a training that diverged the quality
counts as the worst there is (`counted`): leaving it out would reward a recipe that fails.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap, ttest_rel
from scipy.stats import t as student

from nas.comparisons.results import Comparison, Entrant
from nas.evaluation.pareto import front

LEVEL = 0.05
"""Adjusted p-values from here on are within the noise; intervals are of 1 - LEVEL."""
RESOLUTION = 1e-3
"""What a measure is trusted to tell apart, in units of it: the last digit that tables show."""
NO_MODEL = 8.0
"""Bits per byte where every byte is as probable as any other: what knowing nothing costs."""
BETTER, WORSE, NOISE, ONE_SEED = "better", "worse", "within the noise", "one seed: not tested"


class Interval(NamedTuple):
    """Both ends; nan where there is nothing to tell."""

    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """Two entrants at one length.

    Attributes:
        entrant: whose quality is tested.
        baseline: against which.
        factor: of the length, times the training length.
        difference: mean quality of the entrant less that of the baseline.
        interval: of the difference, over seeds.
        p: of the paired test; None with one seed.
        p_holm: the same, adjusted for all tests at this length.
        verdict: about the entrant: `BETTER`, `WORSE`, `NOISE` or `ONE_SEED`.
    """

    entrant: str
    baseline: str
    factor: int
    difference: float
    interval: Interval
    p: float | None
    p_holm: float | None
    verdict: str


def counted(comparison: Comparison, entrant: Entrant, factor: int) -> list[float]:
    """The quality of each seed, with the worst there is in place of what diverged: 0 where higher is better, else
    `NO_MODEL` bits per byte, or the most of the comparison at that length where that is more.
    """
    worst = 0.0
    if not comparison.higher:
        every = (run.quality[factor] for each in comparison.entrants for run in each.runs)
        worst = max([NO_MODEL, *filter(math.isfinite, every)])
    values = (run.quality[factor] for run in entrant.runs)
    return [value if math.isfinite(value) else worst for value in values]


def diverged(entrant: Entrant, factor: int) -> int:
    """How many of its trainings have no quality at that length."""
    return sum(not math.isfinite(run.quality[factor]) for run in entrant.runs)


def interval(values: Sequence[float]) -> Interval:
    """95 % bootstrap interval of the mean of finite values; nan, nan of one.

    Bias-corrected and accelerated (Efron 1987), or the plain percentiles where that is not defined, as for values that
    are all but constant. Of few values it is optimistic: it never leaves their range, so of equal ones it has no width.
    """
    if len(values) < 2:
        return Interval(math.nan, math.nan)
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateDataWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            ends = bootstrap(
                (np.asarray(values),),
                _rounded_mean,
                confidence_level=1 - LEVEL,
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if math.isfinite(ends.low) and math.isfinite(ends.high):
            break
    mean = fmean(values)
    return Interval(min(float(ends.low), mean), max(float(ends.high), mean))


def _rounded_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean, so that those of the same values in another order are equal: few values have many such resamples, and
    how many of them count as less than the mean decides the correction of the bias.
    """
    return np.asarray(values.mean(axis)).round(12)


def paired_test(a: Sequence[float], b: Sequence[float], resolution: float = RESOLUTION) -> float | None:
    """Two-sided p-value of Student's t-test on the differences of pairs of finite values; None of fewer than two pairs.

    Differences of a few seeds may agree by chance, or because the measure cannot tell them apart (two models that find
    everything in every seed); their own deviation then says next to nothing, and of none at all p would be 0. So it
    counts as at least ``resolution``. Differences that are all 0 have p = 1.
    """
    differences = [mine - other for mine, other in zip(a, b, strict=True)]
    if len(differences) < 2:
        return None
    if stdev(differences) > resolution:
        return float(ttest_rel(a, b).pvalue)
    count = len(differences)
    return float(2 * student.sf(abs(fmean(differences)) * math.sqrt(count) / resolution, count - 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values that keep the chance of any false claim among all of them (Holm 1979, step-down).

    None stays None, and does not count as a test.
    """
    adjusted: list[float | None] = [None] * len(p_values)
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    largest = 0.0
    for place, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, p * (len(order) - place)))
        adjusted[index] = largest
    return adjusted


def pareto(points: Sequence[tuple[float, float]], higher: bool) -> list[int]:
    """Indices of the points to which no other is at least as good in both and better in one, ascending.

    Args:
        points: cost and quality of each; less cost is better. One with nan is never on the front.
        higher: whether more quality is better.
    """
    known = [index for index, point in enumerate(points) if not any(map(math.isnan, point))]
    losses = [(points[index][0], -points[index][1] if higher else points[index][1]) for index in known]
    return [known[index] for index in front(losses)]


def best_baseline(comparison: Comparison, factor: int) -> Entrant:
    """The baseline of the best mean quality at that length, and of those that are equal the one of the lowest loss; of
    all entrants where everything was searched.
    """

    def standing(entrant: Entrant) -> tuple[float, float]:
        quality = fmean(counted(comparison, entrant, factor))
        loss = fmean(run.loss[factor] for run in entrant.runs)
        return (quality if comparison.higher else -quality), (-loss if math.isfinite(loss) else -math.inf)

    return max(comparison.baselines or comparison.entrants, key=standing)


def tests(comparison: Comparison) -> list[Pair]:
    """At each length every searched entrant against every baseline; where not both are there, every other entrant
    against the best one. P-values are adjusted for all tests at one length.

    The best one is known from the same seeds, so where all are tested against it, its lead is a little overstated.
    """
    return [pair for factor in comparison.factors for pair in _at(comparison, factor)]


def _at(comparison: Comparison, factor: int) -> list[Pair]:
    best = best_baseline(comparison, factor)
    if comparison.searched and comparison.baselines:
        pairs = [(entrant, baseline) for entrant in comparison.searched for baseline in comparison.baselines]
    else:
        pairs = [(entrant, best) for entrant in comparison.entrants if entrant is not best]
    values = {entrant.name: counted(comparison, entrant, factor) for entrant in comparison.entrants}
    p_values = [paired_test(values[entrant.name], values[baseline.name]) for entrant, baseline in pairs]
    found = []
    for (entrant, baseline), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True):
        mine, other = values[entrant.name], values[baseline.name]
        differences = [a - b for a, b in zip(mine, other, strict=True)]
        difference = fmean(differences)
        verdict = verdict_of(difference if comparison.higher else -difference, p_holm)
        spread = interval(differences)
        found.append(Pair(entrant.name, baseline.name, factor, difference, spread, p, p_holm, verdict))
    return found


def verdict_of(gain: float, p_holm: float | None) -> str:
    """What to say of a difference, positive where it is for the better, with its adjusted p-value."""
    if p_holm is None:
        return ONE_SEED
    if p_holm >= LEVEL:
        return NOISE
    return BETTER if gain > 0 else WORSE
