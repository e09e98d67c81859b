"""Predictors of a pattern's quality that need no training, and the rank correlation of predictions."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import kendalltau

from nas.comparisons.statistics import Interval

DRAWS = 10_000
"""Number of bootstrap samples."""


def first(pattern: str) -> float:
    """Return the index of the first softmax layer, the number of layers without one.

    >>> first("lsls"), first("ll")
    (1, 2)
    """
    return pattern.index("s") if "s" in pattern else len(pattern)


PREDICTORS: dict[str, Callable[[str], float]] = {
    "index of the first softmax layer, earlier is better": first,
    "number of softmax layers, more is better": lambda pattern: -pattern.count("s"),
    "index of the last softmax layer, later is better": lambda pattern: -pattern.rfind("s"),
}
"""Predicted loss of a pattern, up to its scale, by what predicts it. All patterns without softmax come last."""
COST = "FLOPs per token, more is better"
"""Predictor that needs the costs of the patterns; with two operations it ranks as the number of softmax layers does."""


def predictions(flops: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the predicted loss of each pattern by predictor.

    Args:
        flops: FLOPs per token by pattern.
    """
    found = {name: {pattern: predict(pattern) for pattern in flops} for name, predict in PREDICTORS.items()}
    return found | {COST: {pattern: -cost for pattern, cost in flops.items()}}


def tau(predicted: Sequence[float], true: Sequence[float]) -> float:
    """Return Kendall's tau (b); nan if either side has one value only."""
    return float(kendalltau(predicted, true).statistic)


def interval(pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Interval:
    """Return the 95 % bootstrap interval over patterns of the mean tau (b) of some predictions.

    A bootstrap sample draws patterns with replacement, the same for all predictions. It does not cover the noise of the
    trainings.

    Args:
        pairs: for each seed the predicted and the true values by pattern, in one order of patterns.
    """
    patterns = len(pairs[0][0])
    drawn = np.random.default_rng(0).multinomial(patterns, [1 / patterns] * patterns, size=DRAWS).astype(float)
    means = np.mean([_taus(np.asarray(x), np.asarray(y), drawn) for x, y in pairs], axis=0)
    known = means[np.isfinite(means)]
    return Interval(*np.quantile(known, [0.025, 0.975])) if len(known) else Interval(np.nan, np.nan)


def _taus(predicted: np.ndarray, true: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return tau (b) for each row of ``drawn`` [samples, patterns], which has the number of times a pattern counts."""
    x = np.sign(predicted[:, None] - predicted[None])
    y = np.sign(true[:, None] - true[None])

    def total(products: np.ndarray) -> np.ndarray:
        return np.sum((drawn @ products) * drawn, axis=1)

    with np.errstate(invalid="ignore"):
        taus: np.ndarray = total(x * y) / np.sqrt(total(x * x) * total(y * y))
    return taus
