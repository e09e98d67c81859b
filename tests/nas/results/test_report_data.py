"""The report of a run: its headline figures, and its routing where only snapshots have one."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.data import Batch
from nas.evaluation.routing_map import Snapshot
from nas.report.page import render
from nas.results.answer import answer
from nas.results.report_data import _summary, cells, report_of, with_latest_routing
from nas.runs.folder import Run
from nas.runs.metrics import BudgetUse, read_metrics
from tests.nas.commands import Ended
from tests.nas.report.examples import report
from tests.nas.runs.examples import metrics

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


LIMITED = {"context": 4096, "phase": "prefill"}


def test_headline_figures_have_lengths_and_units() -> None:
    assert _summary(metrics(), 512, LIMITED) == [
        ("found", "linear, token_hybrid@8"),
        ("recall at 512 tokens", "0.500"),
        ("recall at 2,048 tokens (4x)", "0.125"),
        ("softmax share", "0.0625 (budget 0.07)"),
        ("parameters", "1.23 k"),
        ("share of planted chunks kept by layer 1", "0.500 (precision 0.750)"),
        ("FLOPs per token at 32k tokens", "5.68 k"),
        ("cache size at 128k tokens", "1.00 MiB"),
    ]
    of_bytes = BudgetUse("kv_bytes", 524288.0, False, 49152.0, 0.0, 2e6, 0.5, 21)
    summary = dict(_summary(metrics(budget=of_bytes), 512, LIMITED))
    assert summary["budgeted cache size at 4k tokens"] == "48.0 KiB (budget 512 KiB)"
    assert summary["softmax share"] == "0.125"
    of_time = BudgetUse("latency", 2.5, False, 0.12345, 0.01, 3.0, 0.5, 21)
    summary = dict(_summary(metrics(budget=of_time), 512, LIMITED))
    assert summary["budgeted latency of prefill at 4k tokens"] == "0.123 ms (budget 2.5 ms)"


def test_headings_of_the_table_have_lengths() -> None:
    assert list(cells(metrics(), 512)[0]) == [
        *("model", "softmax share", "recall at 512 tokens", "recall at 2,048 tokens (4x)"),
    ]


def test_a_report_has_the_title_and_the_answer_of_its_run(search: Ended) -> None:
    given = read_metrics(search.run)
    shown = report_of(Run(search.run), replace(given, ahead=True), "recall", None, [])
    assert (shown.title, shown.folder) == ("token_hybrid on recall", search.run.name)
    assert shown.origin.startswith(f"Folder {search.run.name}, started 20")
    assert shown.answer == answer(given, 64)
    assert shown.ahead
    assert "recall at 128 tokens (2x)" in shown.comparison[0]
