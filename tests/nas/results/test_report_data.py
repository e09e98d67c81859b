"""The report of a run: its headline figures, and its routing where only snapshots have one."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.data import Batch
from nas.evaluation.routing_map import Snapshot
from nas.report.page import render
from nas.results.report_data import _amount, with_latest_routing
from tests.nas.report.examples import report

TOKENS = torch.arange(16)[None]
TASK: Any = SimpleNamespace(
    validation_batches=lambda: [Batch(TOKENS, TOKENS, TOKENS == 9)], token_text=lambda token: f"t{token}"
)


def taken(step: int, codes: list[int]) -> Snapshot:
    return Snapshot(step, 8, {1: [bytes(codes)]})


def test_where_nothing_is_routed_in_the_end_the_latest_snapshot_is_shown() -> None:
    first, latest = taken(3, [0, 0]), taken(6, [253, 0])
    shown = with_latest_routing(report(routing=None, snapshots=[first, latest]), TASK)
    assert shown.routing is not None
    assert (shown.routing.chosen, shown.routing.planted) == ({1: [[1.0, 0.0]]}, [False, True])
    assert (shown.routing_at, shown.snapshots) == (6, [first])
    page = render(shown)
    assert "This is the routing at step 6 of training, the latest snapshot" in page
    assert "after training" not in page.split("<h2>Routing</h2>")[1].split("<script")[0]


def test_a_routing_after_training_comes_first() -> None:
    given = report(snapshots=[taken(3, [0, 0])])
    assert with_latest_routing(given, TASK) == given
    assert with_latest_routing(report(routing=None), TASK).routing is None


@pytest.mark.parametrize("codes", [[0], [0, 255]])
def test_snapshots_of_something_else_are_left_out(codes: list[int]) -> None:
    shown = with_latest_routing(report(routing=None, snapshots=[taken(3, codes)]), TASK)
    assert (shown.routing, shown.snapshots) == (None, [])


def test_amounts_can_be_read() -> None:
    assert [_amount(value) for value in (0.0322, 0, 49152.0, 524288, math.nan)] == [
        "0.0322",
        "0",
        "49,152",
        "524,288",
        "nan",
    ]
