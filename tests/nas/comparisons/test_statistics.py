"""Intervals, tests, adjusted p-values and Pareto fronts, compared with published or independent values."""

import math
from dataclasses import replace
from itertools import product
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import sem, ttest_rel
from scipy.stats import t as student

from nas.comparisons import statistics  # its `tests` would be collected as one
from nas.comparisons.statistics import BETTER, NOISE, ONE_SEED, WORSE
from tests.nas.comparisons.examples import by_seed, comparison, recall


def test_the_sign_flip_test_counts_sign_patterns() -> None:
    a, b = [0.5, 0.6, 0.7, 0.4], [0.4, 0.4, 0.4, 0.6]  # differences 0.1, 0.2, 0.3, -0.2
    signs = product((1, -1), repeat=4)
    sums = [abs(0.1 * i + 0.2 * j + 0.3 * k + 0.2 * m) for i, j, k, m in signs]
    assert statistics.sign_flip_test(a, b) == pytest.approx(sum(total >= 0.4 - 1e-9 for total in sums) / 16)
    assert statistics.sign_flip_test([0.9] * 5, [0.1, 0.2, 0.3, 0.2, 0.1]) == pytest.approx(2 / 32)
    assert statistics.sign_flip_test([0.5] * 3, [0.5] * 3) == 1
    assert statistics.sign_flip_test([0.5], [0.4]) is None
    many = [0.1 * math.sin(seed) for seed in range(20)]
    assert statistics.sign_flip_test(many, [0.0] * 20) == statistics.sign_flip_test(many, [0.0] * 20), "drawn alike"


def test_an_interval_is_students() -> None:
    values = [0.91, 0.88, 0.95, 0.9]
    error = sem(values)
    assert statistics.interval(values) == pytest.approx(student.interval(0.95, 3, loc=fmean(values), scale=error))
    wide = statistics.interval(values, level=0.01)
    assert wide == pytest.approx(student.interval(0.99, 3, loc=fmean(values), scale=error))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_an_interval_excludes_zero_exactly_if_the_test_finds_a_difference(count: int) -> None:
    draw = np.random.default_rng(count)
    found = set()
    for _ in range(200):
        differences = (draw.normal(0.1, 0.1, count) * draw.choice([1e-4, 1.0])).tolist()
        p = statistics.paired_test(differences, [0.0] * count)
        assert p is not None
        low, high = statistics.interval(differences)
        assert (low > 0 or high < 0) == (p < statistics.LEVEL)
        found.add(p < statistics.LEVEL)
    assert found == {True, False}


def test_intervals_of_differences_agree_with_the_adjusted_tests() -> None:
    pairs = statistics.tests(recall())
    assert {pair.verdict for pair in pairs} >= {NOISE, BETTER}
    for pair in pairs:
        assert pair.interval.low <= pair.difference <= pair.interval.high
        assert (pair.interval.low > 0 or pair.interval.high < 0) == (pair.verdict != NOISE), pair


def test_equal_values_have_an_interval_of_the_resolution() -> None:
    assert statistics.interval([0.5, 0.5, 0.5]) == pytest.approx(
        student.interval(0.95, 2, loc=0.5, scale=statistics.RESOLUTION / math.sqrt(3))
    )


def test_one_value_has_no_interval() -> None:
    assert all(map(math.isnan, statistics.interval([0.5])))


def test_a_paired_test_is_students() -> None:
    a, b = [0.91, 0.88, 0.95, 0.9], [0.85, 0.87, 0.86, 0.88]
    assert statistics.paired_test(a, b) == pytest.approx(ttest_rel(a, b).pvalue)
    # t = mean / (deviation / sqrt(n)) = 2 / (1 / sqrt(3)), and of 2 degrees of freedom p = 1 - t / sqrt(t^2 + 2)
    t = 2 * math.sqrt(3)
    assert statistics.paired_test([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]) == pytest.approx(1 - t / math.sqrt(t * t + 2))


def test_a_paired_test_of_equal_values_finds_nothing() -> None:
    assert statistics.paired_test([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) == 1.0


def test_constant_differences_are_no_more_certain_than_the_measure() -> None:
    def p(difference: float, count: int = 3) -> float:
        found = statistics.paired_test([difference] * count, [0.0] * count)
        assert found is not None
        return found

    t = math.sqrt(3) * 1.0 / 1e-3
    assert p(1.0) == pytest.approx(1 - t / math.sqrt(t * t + 2), rel=1e-4)
    assert p(1.0) > 0
    assert p(-1.0) == p(1.0)
    assert p(0.0005) > 0.4  # less than tables show
    assert p(1.0, count=2) > p(1.0, count=3)
    nearly = statistics.paired_test([0.5001, 0.5, 0.5], [0.0, 0.0, 0.0])
    assert nearly == pytest.approx(p(0.5), rel=1e-2)  # it goes over smoothly


def test_fewer_than_two_pairs_are_not_tested() -> None:
    assert statistics.paired_test([1.0], [0.0]) is None
    assert statistics.paired_test([], []) is None


def test_holm_steps_down() -> None:
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which does not fall below the one before."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.6]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert statistics.holm([None, 0.02, None, 0.03]) == [None, pytest.approx(0.04), None, pytest.approx(0.04)]


def test_the_pareto_front_by_cost_and_quality() -> None:
    points = [(1.0, 0.9), (0.25, 0.9), (0.1, 0.5), (0.3, 0.8), (0.0, 0.1), (0.25, 0.9), (math.nan, 1.0)]
    assert statistics.pareto(points, higher=True) == [1, 2, 4, 5]
    assert statistics.pareto(points, higher=False) == [4]


def test_what_diverged_counts_as_the_worst() -> None:
    accuracy = comparison(by_seed("a", 1.0, math.nan, 0.5), by_seed("b", 0.2, 0.2, 0.2))
    assert statistics.counted(accuracy, accuracy.contenders[0], 1) == [1.0, 0.0, 0.5]
    assert statistics.diverged(accuracy.contenders[0], 1) == 1
    bits = comparison(by_seed("a", 2.0, math.inf), by_seed("b", 2.1, 2.2), quality="bits_per_byte")
    assert statistics.counted(bits, bits.contenders[0], 1) == [2.0, 8.0]
    worse = comparison(by_seed("a", 2.0, math.nan), by_seed("b", 2.1, 11.0), quality="bits_per_byte")
    assert statistics.counted(worse, worse.contenders[0], 1) == [2.0, 11.0]
    tokens = comparison(by_seed("a", 2.0, math.inf), by_seed("b", 2.1, 2.2), quality="bits_per_token")
    uniform = math.log2(tokens.contenders[0].architecture["vocab_size"])
    assert statistics.counted(tokens, tokens.contenders[0], 1) == [2.0, uniform]


def test_every_searched_contender_is_tested_against_every_baseline() -> None:
    given = comparison(
        by_seed("found", 0.90, 0.93, 0.91, searched=True),
        by_seed("other", 0.50, 0.60, 0.55, searched=True),
        by_seed("softmax", 0.91, 0.90, 0.92),
        by_seed("linear", 0.01, 0.02, 0.04),
    )
    pairs = statistics.tests(given)
    assert [(pair.contender, pair.baseline) for pair in pairs] == [
        ("found", "softmax"),
        ("found", "linear"),
        ("other", "softmax"),
        ("other", "linear"),
    ]
    assert [pair.verdict for pair in pairs] == [NOISE, BETTER, WORSE, BETTER]
    raw = [
        ttest_rel(a, b).pvalue
        for a in ([0.90, 0.93, 0.91], [0.50, 0.60, 0.55])
        for b in ([0.91, 0.90, 0.92], [0.01, 0.02, 0.04])
    ]
    assert [pair.p for pair in pairs] == pytest.approx(raw)
    assert [pair.p_holm for pair in pairs] == pytest.approx(statistics.holm(raw))
    assert pairs[1].difference == pytest.approx(0.89)
    low, high = pairs[1].interval
    assert low > 0
    assert (low + high) / 2 == pytest.approx(0.89)


def test_lower_is_better_where_it_is() -> None:
    given = comparison(
        by_seed("found", 1.90, 1.91, 1.92, searched=True), by_seed("softmax", 2.1, 2.11, 2.13), quality="bits_per_byte"
    )
    (pair,) = statistics.tests(given)
    assert pair.difference == pytest.approx(-0.2033, abs=1e-4)
    assert pair.verdict == BETTER


def test_p_values_are_adjusted_for_each_length_alone() -> None:
    pairs = statistics.tests(recall())
    assert len(pairs) == 4 * 2 * 6
    for factor in (1, 2, 4, 8):
        here = [pair for pair in pairs if pair.factor == factor]
        assert [pair.p_holm for pair in here] == statistics.holm([pair.p for pair in here])


@pytest.mark.parametrize("searched", [False, True])
def test_without_both_kinds_every_other_is_tested_against_the_best(searched: bool) -> None:
    given = comparison(
        by_seed("a", 0.5, 0.5, searched=searched),
        by_seed("b", 0.8, 0.9, searched=searched),
        by_seed("c", 0.8, 0.7, searched=searched),
    )
    assert [(pair.contender, pair.baseline) for pair in statistics.tests(given)] == [("a", "b"), ("c", "b")]


def test_of_equally_good_baselines_the_one_of_the_lower_loss_is_the_best() -> None:
    a, b = by_seed("a", 1.0, 1.0), by_seed("b", 1.0, 1.0)
    lower = replace(b, runs=tuple(replace(run, loss={1: 0.1}) for run in b.runs))
    assert statistics.best_baseline(comparison(a, b), 1).name == "a"
    assert statistics.best_baseline(comparison(a, lower), 1).name == "b"


def test_a_baseline_that_diverged_in_some_seeds_can_be_the_best() -> None:
    a = by_seed("a", 1.0, math.nan)
    a = replace(a, runs=(a.runs[0], replace(a.runs[1], loss={1: math.nan})))
    assert statistics.best_baseline(comparison(a, by_seed("b", 0.1, 0.1)), 1).name == "a"


def test_one_seed_is_not_tested() -> None:
    (pair,) = statistics.tests(comparison(by_seed("found", 1.0, searched=True), by_seed("linear", 0.0)))
    assert (pair.p, pair.p_holm, pair.verdict) == (None, None, ONE_SEED)
    assert all(map(math.isnan, pair.interval))
    assert statistics.tests(comparison(by_seed("alone", 1.0))) == []
