"""Charts of a comparison's page."""

from typing import Any

import pytest

from nas.comparisons.figures import page_charts
from nas.comparisons.figures.page_charts import along_the_sequence
from nas.comparisons.figures.quality_curves import limits, position_curves
from nas.comparisons.summary import Summary
from nas.report.charts import Spec, bands
from tests.nas.comparisons.examples import recall, text
from tests.nas.sweeps.test_page import rows


def test_bits_by_position_are_a_chart() -> None:
    charts = {chart.name: chart.spec for chart in along_the_sequence(Summary.of(text()))}
    assert len([row for row in rows(charts["position"] or {}) if row.get("line") == "linear"]) == 16


def test_axes_of_bits_end_where_curves_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Spec] = []

    def kept(*given: Any) -> Spec:
        made.append(bands(*given))
        return made[-1]

    monkeypatch.setattr(page_charts, "bands", kept)
    summary = Summary.of(text())
    along_the_sequence(summary)
    drawn = made[-1]["layer"][:2]  # the chart by position
    assert [layer["mark"]["type"] for layer in drawn] == ["area", "line"]
    assert all(layer["mark"]["clip"] for layer in drawn)
    ends = limits(summary, position_curves(summary))
    assert ends is not None
    assert all(layer["encoding"]["y"]["scale"]["domain"] == list(ends) for layer in drawn)
    along_the_sequence(Summary.of(recall()))
    assert "clip" not in str(made[-1]["layer"]), "recall lies between 0 and 1"
