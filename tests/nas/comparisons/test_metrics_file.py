"""Softmax shares from the metrics of a run."""

import math

import pytest

from nas.comparisons.metrics_file import layer_shares, shares_at
from nas.runs.metrics import Row
from tests.nas.architectures import small
from tests.nas.runs.examples import figures

ROW = Row("searched routing", {1: figures(shares={0: [0.5, 0.1]}), 4: figures(shares={0: [0.2, math.nan]})})


@pytest.mark.parametrize(("context", "first"), [(10, 0.5), (64, 0.5), (255, 0.5), (256, 0.2), (131072, 0.2)])
def test_costs_at_a_length_count_what_routers_keep_of_such_lengths(context: int, first: float) -> None:
    assert shares_at(ROW, 64, context)[0][0] == first


def test_a_diverged_head_has_no_share() -> None:
    assert math.isnan(shares_at(ROW, 64, 256)[0][1])


def test_layers_without_a_router_have_all_or_no_softmax() -> None:
    assert layer_shares(small("softmax", "token_hybrid", "linear"), {1: [0.25, 0.75]}) == [1.0, 0.5, 0.0]
