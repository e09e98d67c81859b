"""What a report is made of."""

from dataclasses import FrozenInstanceError, replace

import pytest

from nas.report.data import ReportData
from tests.nas.report.examples import report


def test_what_most_runs_do_not_have_may_be_left_out() -> None:
    given = ReportData("title", [], "recall", [], [], None, [], "python -m nas.search")
    assert (given.snapshots, given.compared, given.routing_at, given.stacks) == ([], None, None, ())
    assert given.snapshots is not replace(given, snapshots=[]).snapshots


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        report().title = "other"  # type: ignore[misc]
