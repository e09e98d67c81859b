"""Intervals by Student's t: how far the mean of a few measurements may be from the true mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Self

from scipy.special import stdtrit

LEVEL = 0.05
"""Significance level of the tests; intervals have a confidence of 1 - LEVEL."""
RESOLUTION = 1e-3
"""Smallest difference that counts as measured, in units of the measure: the last digit in tables."""


def margin(values: Sequence[float], level: float = LEVEL, resolution: float = RESOLUTION) -> float:
    """Return half the width of the confidence interval of the mean; nan for one value, or if one is not finite.

    Args:
        values: measurements, for example of seeds or of sequences.
        level: 1 - confidence.
        resolution: least standard deviation. Few values may agree by chance, or because the measure cannot resolve
            them, and would otherwise have no noise at all.
    """
    count = len(values)
    if count < 2 or not all(map(math.isfinite, values)):
        return math.nan
    return float(-stdtrit(count - 1, level / 2)) * max(stdev(values), resolution) / math.sqrt(count)


@dataclass(frozen=True)
class Estimate:
    """A mean, and half the width of its 95 % confidence interval; nan if it is not defined."""

    mean: float
    margin: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return the estimate of the mean of measurements of any resolution; nan if one is not finite."""
        mean = fmean(values) if all(map(math.isfinite, values)) else math.nan
        return cls(mean, margin(values, resolution=0.0))

    def better(self, than: float, higher: bool) -> bool:
        """Return whether the mean is better than a number by more than the margin, which counts as 0 if it is nan.

        Args:
            than: number to compare with.
            higher: whether higher is better.
        """
        gain = self.mean - than if higher else than - self.mean
        return gain > (0.0 if math.isnan(self.margin) else self.margin)

    @property
    def positive(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.mean > 0 and self.mean - self.margin > 0

    @property
    def negative(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.mean < 0 and self.mean + self.margin < 0
