"""Charts and tables in a browser: they are drawn, tell their numbers under the pointer, link and sort."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.comparisons.page import page as comparison_page
from nas.comparisons.summary import Answer
from nas.report.diagram import by_hand
from nas.report.embed import write_page
from nas.report.page import write_report
from nas.sweeps.page import page as sweep_page
from tests.nas.comparisons.examples import recall, text
from tests.nas.report.browser import chromium, opened, violations
from tests.nas.report.test_paper_figures import HISTORY
from tests.nas.report.test_report import report
from tests.nas.sweeps.test_page import metrics, trial

READY = "async () => { await window.ready }"
MARK = "#chart-{} .mark-symbol.role-mark path"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


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
    write_page(found["comparison"], comparison_page(Answer.of(recall()), tmp_path, tmp_path))
    write_page(found["text"], comparison_page(Answer.of(text()), tmp_path, tmp_path))
    return found


def tooltip(page: Any) -> str:
    """What stands beside the pointer, once something does."""
    page.wait_for_selector("#vg-tooltip-element.visible", timeout=2000)
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
