"""The kinds of charts: what they keep of the data, and that Vega-Lite takes them."""

import json
import math
from typing import Any

import pytest

from nas.report.charts import (
    Axis,
    Band,
    Mark,
    Series,
    bands,
    bars,
    lines,
    scatter,
    shares_over_steps,
    thinned,
)
from nas.report.embed import Chart, Charts, library
from nas.report.parallel import Dimension, parallel

NAMES = ["a.b", "</script><b>", "c[0]"]
"""As users may call things."""


def compiled(spec: dict[str, Any]) -> dict[str, Any]:
    """What Vega-Lite makes of a chart."""
    made = Chart.of("name", "Title", "told", spec).spec
    assert made is not None
    assert made["description"] == "Title. told"
    return made


def rows(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The values that stand in a spec."""
    return [row for data in spec["data"] for row in data.get("values", [])]


def test_thinned_points_keep_the_ends_and_the_extremes() -> None:
    points = [(float(step), math.sin(step)) for step in range(10_000)]
    points[5000], points[5001], points[7] = (5000.0, 9.0), (5001.0, -9.0), (7.0, math.nan)
    kept = thinned(points, 100)
    assert len(kept) <= 100
    assert kept == sorted(kept)
    assert {points[0], points[-1], (5000.0, 9.0), (5001.0, -9.0)} <= set(kept)
    assert thinned(points[:7], 100) == points[:7]


def test_lines_have_every_point_and_tell_of_all_lines_at_once() -> None:
    made = compiled(lines([Series(name, [(1, 0.123456789), (2, 1.0)], "ink") for name in NAMES], Axis("y", (0, 1))))
    assert {(row["step"], row["line"]) for row in rows(made) if "line" in row} == {
        (step, name) for step in (1, 2) for name in NAMES
    }
    assert {row["value"] for row in rows(made) if "value" in row} == {0.12346, 1.0}
    told = json.dumps(made)
    assert all(f"datum[{json.dumps(name)}]"[1:-1] in told.replace("\\", "") or name in told for name in NAMES)
    assert "var(--ink)" in told


@pytest.mark.parametrize("low", [0.1, math.nan], ids=["interval", "none"])
def test_intervals_are_drawn_where_there_are_any(low: float) -> None:
    curve = [(float(x), 0.5, low, low + 0.1) for x in (512, 1024)]
    made = compiled(bands([Band(name, curve) for name in NAMES], Axis("x", logarithmic=2), Axis("y"), (512.0, "here")))
    assert ('"area"' in json.dumps(made)) == math.isfinite(low)
    assert "here" in json.dumps(made)
    marks = [Mark(name, name, 1.0, 0.5, low, low + 0.1, "a/report.html") for name in NAMES]
    drawn = compiled(scatter(marks, [(1, 0.5), (2, 0.5)], Axis("x"), Axis("y")))
    assert [row["href"] for row in rows(drawn) if "name" in row] == ["a/report.html"] * 3
    assert ('"low"' in json.dumps(drawn["marks"])) == math.isfinite(low)


def test_parallel_lines_are_drawn_from_worst_to_best() -> None:
    dimensions = [Dimension(name, [0.0, 0.5, 1.0], ["x", "y", "z"], {0.0: "low", 1.0: "high"}) for name in NAMES]
    made = compiled(parallel(["best", "worst", "middle"], [4, 0, 2], dimensions, ["1", "2", "3", "4", "5"]))
    named = [row["name"] for row in rows(made) if "name" in row]
    assert list(dict.fromkeys(named)) == ["worst", "middle", "best"]
    assert {row["tick"] for row in rows(made) if "tick" in row} == {"low", "high"}
    assert [row["shown"] for row in rows(made) if row.get("name") == "worst"] == ["y"] * 3


def test_bars_are_in_the_order_they_are_given() -> None:
    made = compiled(bars({"b": 0.7, "a": 0.3}))
    assert [row["name"] for row in rows(made) if "name" in row] == ["b", "a"]


def test_shares_over_steps_fill_the_row_of_their_layer() -> None:
    half = [(10.0, 0.5), (20.0, 0.25)]
    rest = [(step, 1 - share) for step, share in half]
    layers = {f"layer {layer}": {"softmax": half, "linear": rest} for layer in range(2)}
    made = compiled(shares_over_steps(layers, {"softmax": "softmax", "linear": "linear"}))
    areas = [row for row in rows(made) if "high" in row and row["layer"] == "layer 1" and row["step"] == 20]
    assert [(row["option"], row["low"], row["high"]) for row in areas] == [
        ("softmax", 1.92, 1.71),
        ("linear", 1.71, 1.08),
    ]


def test_specs_are_by_the_id_of_their_place_and_nothing_is_drawn_of_nothing() -> None:
    charts = Charts([Chart("a", "A", "nan", None), Chart.of("b", "B", "", bars({"x": 1.0}))])
    assert list(charts.specs) == ["chart-b"]
    json.dumps(charts.specs, allow_nan=False)


def test_the_library_can_stand_inside_a_page_with_its_licences() -> None:
    script = library()
    assert "</script" not in script
    assert "vegaEmbed" in script
    for words in ("University of Washington Interactive Data Lab", "Mike Bostock", "OpenJS Foundation"):
        assert words in script[: script.index("*/")]
    assert len(script) < 1_000_000
