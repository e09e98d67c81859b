"""Charts as files: they can be drawn without a page, in its colours."""

from pathlib import Path

from nas.report.chart_files import colours, save_chart
from nas.report.charts import bars
from nas.report.embed import Chart


def test_a_chart_is_written_in_both_formats(tmp_path: Path) -> None:
    chart = Chart.of(
        "mattered", "What mattered", "most of it", bars({"trainer.learning_rate": 0.7, "budget.rate": 0.3})
    )
    png, svg = save_chart(chart, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    drawn = svg.read_text()
    assert drawn.startswith("<svg")
    assert "var(" not in drawn
    assert colours()["--c1"] in drawn
    assert all(told in drawn for told in ("trainer.learning_rate", "budget.rate", "0.70", "0.30"))
    assert {path.name for path in tmp_path.iterdir()} == {"mattered.png", "mattered.svg"}


def test_nothing_is_written_where_nothing_can_be_drawn(tmp_path: Path) -> None:
    assert save_chart(Chart("loss", "Loss", "no finite value", None), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_colours_are_those_on_white() -> None:
    assert colours()["--paper"] == "#ffffff"
    assert {"--ink", "--muted", "--rule", "--softmax", "--linear", "--q1", "--c8"} <= set(colours())
