"""Statistical tests of the differences between contenders over seeds.

Trainings of two contenders with the same seed form a pair: they see the same data in the same order. A training that
diverged counts with the worst quality (`counted`), because leaving it out would reward a recipe that fails.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from nas.comparisons.results import Comparison, TrainedContender
from nas.evaluation.noise import LEVEL, RESOLUTION, margin
from nas.evaluation.pareto import front

EXACT = 2**14
"""Largest number of sign patterns that a sign-flip test enumerates, those of 14 seeds; of more it draws as many."""
NO_MODEL = 8.0
"""Bits per byte of a uniform distribution over bytes."""
BETTER, WORSE, NOISE, ONE_SEED = "better", "worse", "within the noise", "one seed: not tested"


class Interval(NamedTuple):
    """Both ends of an interval; nan if it is not defined."""

    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """The test of one contender against another at one length.

    Attributes:
        contender: name of the contender.
        baseline: name of the contender that it is tested against.
        factor: sequence length over the training length.
        difference: mean quality of the contender minus the mean quality of the baseline.
        interval: confidence interval of the difference over seeds, at the level at which Holm's procedure tests it: it
            excludes 0 exactly if the verdict is not `NOISE`.
        p: p-value of the paired test; None with one seed.
        p_holm: p-value adjusted for all tests at this length; None with one seed.
        p_flip: p-value of the sign-flip test, see `sign_flip_test`, not adjusted; None with one seed.
        verdict: the verdict on the contender: `BETTER`, `WORSE`, `NOISE` or `ONE_SEED`.
    """

    contender: str
    baseline: str
    factor: int
    difference: float
    interval: Interval
    p: float | None
    p_holm: float | None
    p_flip: float | None
    verdict: str


def counted(comparison: Comparison, contender: TrainedContender, factor: int) -> list[float]:
    """Return the quality of each seed, with the worst quality for trainings that diverged.

    The worst quality is 0 if higher is better. Otherwise it is that of a uniform distribution, `NO_MODEL` bits per byte
    or the logarithm of the vocabulary per token, or the largest value of the comparison at that length if that is more.
    """
    worst = 0.0
    if not comparison.higher:
        every = (run.quality[factor] for each in comparison.contenders for run in each.runs)
        uniform = NO_MODEL if comparison.quality == "bits_per_byte" else math.log2(_vocab_size(comparison))
        worst = max([uniform, *filter(math.isfinite, every)])
    values = (run.quality[factor] for run in contender.runs)
    return [value if math.isfinite(value) else worst for value in values]


def _vocab_size(comparison: Comparison) -> int:
    size: int = comparison.contenders[0].architecture["vocab_size"]
    return size


def diverged(contender: TrainedContender, factor: int) -> int:
    """Return the number of trainings of a contender without a finite quality at a length."""
    return sum(not math.isfinite(run.quality[factor]) for run in contender.runs)


def interval(values: Sequence[float], level: float = LEVEL, resolution: float = RESOLUTION) -> Interval:
    """Return the confidence interval of the mean of finite values by Student's t; nan, nan for a single value.

    It belongs to `paired_test`: the interval of paired differences excludes 0 exactly if their p-value is below
    ``level``.

    Args:
        values: values of the seeds.
        level: 1 - confidence.
        resolution: least standard deviation, see `paired_test`.
    """
    mean, half = fmean(values), margin(values, level, resolution)
    return Interval(mean - half, mean + half)


def paired_test(a: Sequence[float], b: Sequence[float], resolution: float = RESOLUTION) -> float | None:
    """Return the two-sided p-value of the paired t-test on finite values; None for fewer than two pairs.

    The standard deviation of the differences counts as at least ``resolution``. The differences of few seeds may agree
    by chance, or because the measure cannot resolve them (two models with perfect recall for every seed). Without this
    bound, equal differences would have p = 0. Differences that are all 0 have p = 1.
    """
    differences = [mine - other for mine, other in zip(a, b, strict=True)]
    if len(differences) < 2:
        return None
    if stdev(differences) > resolution:
        from scipy.stats import ttest_rel  # takes a second to import

        return float(ttest_rel(a, b).pvalue)
    count = len(differences)
    return float(2 * stdtr(count - 1, -abs(fmean(differences)) * math.sqrt(count) / resolution))


def sign_flip_test(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return the two-sided p-value of the sign-flip permutation test on finite values; None for fewer than two pairs.

    If the two contenders do not differ, the difference of each pair has either sign with equal probability. The p-value
    is the fraction of all sign patterns whose mean difference is at least as large. The test assumes no distribution.
    With n seeds its p-value cannot be below 2 / 2^n, 0.0625 for five seeds.
    """
    if len(a) < 2:
        return None
    from scipy.stats import permutation_test  # takes a second to import

    def mean_difference(mine: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(mine - other, axis=axis)

    test = permutation_test(
        (a, b), mean_difference, permutation_type="samples", vectorized=True, n_resamples=EXACT, rng=0
    )
    return float(test.pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for the family-wise error rate (Holm 1979, step-down).

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
    """Return the indices of the points on the Pareto front, ascending.

    Args:
        points: cost and quality of each point; lower cost is better. A point with nan is never on the front.
        higher: whether higher quality is better.
    """
    known = [index for index, point in enumerate(points) if not any(map(math.isnan, point))]
    losses = [(points[index][0], -points[index][1] if higher else points[index][1]) for index in known]
    return [known[index] for index in front(losses)]


def best_baseline(comparison: Comparison, factor: int) -> TrainedContender:
    """Return the baseline with the best mean quality at a length; of equal ones that with the lowest loss.

    Without baselines it is the best of all contenders. Placements that tuning did not choose do not take part, because
    choosing among them on the reported seeds would favour chance.
    """

    def score(contender: TrainedContender) -> tuple[float, float]:
        quality = fmean(counted(comparison, contender, factor))
        loss = fmean(run.loss[factor] for run in contender.runs)
        return (quality if comparison.higher else -quality), (-loss if math.isfinite(loss) else -math.inf)

    return max(comparison.opponents or comparison.contenders, key=score)


def tests(comparison: Comparison) -> list[Pair]:
    """Return the tests of a comparison, at each length with p-values adjusted for all tests at that length.

    Every searched contender is tested against every baseline; of all placements of a pattern, only against the one that
    tuning chose. Without searched contenders or without baselines, every other contender is tested against the best
    one. The best one is then chosen on the same seeds, so the tests slightly overstate its lead.
    """
    return [pair for factor in comparison.factors for pair in _at(comparison, factor)]


def _at(comparison: Comparison, factor: int) -> list[Pair]:
    best = best_baseline(comparison, factor)
    if comparison.searched and comparison.baselines:
        pairs = [(contender, baseline) for contender in comparison.searched for baseline in comparison.opponents]
    else:
        pairs = [(contender, best) for contender in comparison.contenders if contender is not best]
    values = {contender.name: counted(comparison, contender, factor) for contender in comparison.contenders}
    p_values = [paired_test(values[contender.name], values[baseline.name]) for contender, baseline in pairs]
    found = []
    for (contender, baseline), p, p_holm in zip(pairs, p_values, holm(p_values), strict=True):
        mine, other = values[contender.name], values[baseline.name]
        flip = sign_flip_test(mine, other)
        differences = [a - b for a, b in zip(mine, other, strict=True)]
        difference = fmean(differences)
        verdict = verdict_of(difference if comparison.higher else -difference, p_holm)
        spread = interval(differences, LEVEL if p is None or not p_holm else LEVEL * p / p_holm)
        found.append(Pair(contender.name, baseline.name, factor, difference, spread, p, p_holm, flip, verdict))
    return found


def verdict_of(gain: float, p_holm: float | None) -> str:
    """Return the verdict on a difference.

    Args:
        gain: the difference; positive if the contender is better.
        p_holm: the adjusted p-value; None with one seed.
    """
    if p_holm is None:
        return ONE_SEED
    if p_holm >= LEVEL:
        return NOISE
    return BETTER if gain > 0 else WORSE
