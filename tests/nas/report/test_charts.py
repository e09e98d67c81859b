"""The kinds of charts: what they keep of the data, and that Vega-Lite takes them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from nas.comparisons.page import page as comparison_page
from nas.comparisons.summary import Summary
from nas.report.charts import (
    Axis,
    Band,
    Mark,
    Series,
    bands,
    bars,
    lines,
    scatter,
    thinned,
)
from nas.report.diagram import by_hand
from nas.report.embed import Chart, write_page
from nas.report.page import write_report
from nas.sweeps.page import page as sweep_page
from tests.nas.comparisons.examples import recall, text
from tests.nas.report.browser import opened, violations
from tests.nas.report.examples import report
from tests.nas.report.test_paper_figures import HISTORY
from tests.nas.sweeps.test_page import metrics, trial

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
    drawn = compiled(scatter(marks, [[(1, 0.5), (2, 0.5)]], Axis("x"), Axis("y")))
    assert [row["href"] for row in rows(drawn) if "name" in row] == ["a/report.html"] * 3
    assert ('"low"' in json.dumps(drawn["marks"])) == math.isfinite(low)


def test_bars_are_in_the_order_they_are_given() -> None:
    made = compiled(bars({"b": 0.7, "a": 0.3}))
    assert [row["name"] for row in rows(made) if "name" in row] == ["b", "a"]


READY = "async () => { await window.ready }"


MARK = "#chart-{} .mark-symbol.role-mark path"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    tmp_path = tmp_path_factory.mktemp("pages")
    linked = tmp_path / "search" / "t" / "report.html"
    linked.parent.mkdir(parents=True)
    linked.write_text("<!doctype html><title>linked</title>")
    swept = metrics(*(trial(number, 0.2 * number, 0.1 * number) for number in (1, 2, 3, 4)))
    swept["trials"][1]["run"] = str(linked.parent)
    found = {name: tmp_path / f"{name}.html" for name in ("run", "sweep", "comparison", "text")}
    write_report(found["run"], report(history=HISTORY, stacks=by_hand(8)))
    write_page(found["sweep"], sweep_page(swept, tmp_path, tmp_path))
    write_page(found["comparison"], comparison_page(Summary.of(recall()), tmp_path, tmp_path))
    write_page(found["text"], comparison_page(Summary.of(text()), tmp_path, tmp_path))
    return found


def tooltip(page: Any) -> str:
    """What stands beside the pointer, once something does."""
    page.wait_for_selector("#vg-tooltip-element.visible")
    return " ".join(page.inner_text("#vg-tooltip-element").split())


def column(page: Any, number: int) -> list[str]:
    """The cells of a column of the first table, from above."""
    cells: list[str] = page.locator(
        f"table[data-sortable] >> nth=0 >> tbody tr > :nth-child({number})"
    ).all_inner_texts()
    return cells


@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1600)])
def test_every_chart_is_drawn_within_the_page_and_axe_finds_nothing(
    browser: Any, pages: dict[str, Path], scheme: str, width: int
) -> None:
    for path in pages.values():
        with opened(browser, path, width, color_scheme=scheme) as page:
            page.evaluate(READY)
            charts = page.locator(".vega")
            assert charts.count() == page.locator(".vega svg.marks").count() > 0
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert violations(page) == []


def test_the_pointer_finds_numbers_and_reports(browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages["sweep"]) as page:
        page.evaluate(READY)
        page.locator(MARK.format("history-quality")).nth(2).hover()
        assert tooltip(page) == "trial 3 trial 3 recall 0.6"
    with opened(browser, pages["run"]) as page:
        page.evaluate(READY)
        plot = page.locator("#chart-loss svg")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 80)
        assert tooltip(page) == "step 10 loss 2"


def test_a_line_that_has_no_number_at_the_pointer_has_a_dash(browser: Any, tmp_path: Path) -> None:
    history = [{"step": 5, "recall": 0.25, "validation_recall": 0.5}, {"step": 10, "recall": 0.75}]
    write_report(tmp_path / "page.html", report(history=history))
    with opened(browser, tmp_path / "page.html") as page:
        page.evaluate(READY)
        plot = page.locator("#chart-quality svg")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 80)
        assert tooltip(page) == "step 10 training 0.75 validation \N{EN DASH}"


def test_a_click_on_a_trial_opens_its_report(browser: Any, pages: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(pages["sweep"].as_uri())
    page.evaluate(READY)
    page.locator(MARK.format("history-quality")).nth(1).click()
    page.wait_for_url("**/search/t/report.html")
    assert page.title() == "linked"
    page.close()


def test_tables_are_sorted_by_pointer_and_by_keyboard(browser: Any, pages: dict[str, Path]) -> None:
    with opened(browser, pages["comparison"]) as page:
        shares = column(page, 2)
        heading = page.locator("table[data-sortable] >> nth=0 >> th button >> nth=1")
        heading.click()
        assert column(page, 2) == sorted(shares, key=float)
        assert page.locator("[aria-sort]").get_attribute("aria-sort") == "ascending"
        heading.press("Enter")
        assert column(page, 2) == sorted(shares, key=float, reverse=True)
        page.locator("table[data-sortable] >> nth=0 >> th button >> nth=0").click()
        assert column(page, 1) == sorted(column(page, 1))
        assert page.locator("[aria-sort]").count() == 1
