"""Intervals by Student's t."""

import math

import pytest
from scipy.stats import ttest_1samp

from nas.evaluation.noise import Estimate, margin


def test_the_interval_is_that_of_the_t_test() -> None:
    values = [0.1, 0.4, 0.2, 0.6]
    low, high = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert margin(values) == pytest.approx((high - low) / 2)
    assert Estimate.of(values) == Estimate(pytest.approx(0.325), pytest.approx((high - low) / 2))


def test_equal_values_have_the_noise_of_the_resolution() -> None:
    assert margin([0.5, 0.5], resolution=0.0) == 0.0
    assert margin([0.5, 0.5]) == pytest.approx(12.7062 * 1e-3 / math.sqrt(2), rel=1e-5)


@pytest.mark.parametrize("values", [[0.5], [0.5, math.nan], [0.5, math.inf], [math.inf, -math.inf]])
def test_without_an_interval_nothing_is_positive(values: list[float]) -> None:
    found = Estimate.of(values)
    assert math.isnan(found.margin)
    assert not found.positive
    assert not found.negative


@pytest.mark.parametrize(
    ("mean", "margin", "positive", "negative"),
    [(0.3, 0.2, True, False), (0.3, 0.4, False, False), (-0.3, 0.2, False, True), (0.0, 0.0, False, False)],
)
def test_a_sign_needs_the_whole_interval(mean: float, margin: float, positive: bool, negative: bool) -> None:
    found = Estimate(mean, margin)
    assert (found.positive, found.negative) == (positive, negative)
