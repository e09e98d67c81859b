"""Charts of a comparison's page."""

from nas.comparisons.figures.page_charts import along_the_sequence
from nas.comparisons.summary import Summary
from tests.nas.comparisons.examples import text
from tests.nas.sweeps.test_page import rows


def test_bits_by_position_are_a_chart() -> None:
    charts = {chart.name: chart.spec for chart in along_the_sequence(Summary.of(text()))}
    assert len([row for row in rows(charts["position"] or {}) if row.get("line") == "linear"]) == 16
