"""What the metrics of a run tell."""

import math

import pytest

from nas.comparisons.metrics_file import by_factor, shares_at

OWN = {1: {"shares": {"0": [0.5, 0.1]}}, 4: {"shares": {"0": [0.2, None]}}}


@pytest.mark.parametrize(("context", "first"), [(10, 0.5), (64, 0.5), (255, 0.5), (256, 0.2), (131072, 0.2)])
def test_costs_at_a_length_count_what_routers_keep_of_such_lengths(context: int, first: float) -> None:
    assert shares_at(OWN, 64, context)[0][0] == first


def test_what_diverged_has_no_share() -> None:
    assert math.isnan(shares_at(OWN, 64, 256)[0][1])


def test_the_figures_are_those_of_what_was_trained() -> None:
    metrics = {"routings": {"searched routing": {"1x": 1, "16x": 2}, "random, same share": {"1x": 3}}}
    assert by_factor(metrics) == {1: 1, 16: 2}
