"""The routing of a page in a browser: what it shows is what the run has, by pointer and by keyboard."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.config import VisualizeConfig
from nas.evaluation.routing_map import CODES, Reader, RoutingMap
from nas.report.page import write_report
from nas.report.routing import rows, two_decimals
from nas.results.reopen import report as report_of_run
from nas.runs.folder import Run
from nas.runs.snapshots import read_snapshots
from tests.nas.commands import Ended
from tests.nas.report.browser import chromium, milliseconds, opened, violations
from tests.nas.report.test_report import HOSTILE, large, report, routing

HOVER = "document.querySelectorAll('.chunk')[200].dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))"
LAYER = (
    "const layer = document.querySelector('select.layer'); layer.value = 7; layer.dispatchEvent(new Event('change'))"
)
STEP = "const step = document.querySelector('.step'); step.value = 3; step.dispatchEvent(new Event('input'))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


def told(page: Any) -> list[str]:
    """What the page says of the head that is shown: share, entropy, precision and recall."""
    return re.findall("\\d\\.\\d\\d|\N{EN DASH}", page.inner_text(".told"))


def test_every_head_is_shown_as_the_run_has_it(browser: Any, search: Ended) -> None:
    shown = report_of_run(VisualizeConfig(run=str(search.run), tokens=1)).routing
    assert shown is not None
    with opened(browser, search.run / "report.html") as page:
        for row in rows(shown):
            page.select_option("select.layer", str(row.layer))
            page.select_option("select.head", str(row.head))
            assert told(page) == [two_decimals(x) for x in (row.share, row.entropy, row.precision, row.recall)]
            for chunk, (box, probability) in enumerate(
                zip(page.query_selector_all(".chunk"), row.probability, strict=True)
            ):
                letter, number = box.query_selector(".top span").inner_text().split()
                assert letter == ("S" if row.weight[chunk] >= 0.5 else "L")
                assert float(number) == pytest.approx(probability, abs=0.0051)
                assert ("softmax" if letter == "S" else "linear") in box.get_attribute("class")
            assert page.inner_text(f"[aria-label^='{row.name}:'][aria-pressed=true]") == two_decimals(row.share)


def test_a_chunk_tells_its_tokens_and_who_reads_it(browser: Any, tmp_path: Path) -> None:
    nobody: list[list[Reader]] = [[], [], [], []]
    readers = {0: [[[], [Reader(13, 0.5), Reader(9, 0.0025)], [], []], nobody], 2: [nobody, nobody]}
    write_report(tmp_path / "page.html", report(routing=replace(routing(), readers=readers)))
    with opened(browser, tmp_path / "page.html") as page:
        page.hover(".chunk >> nth=1")
        text = page.inner_text(".inspector")
        for part in (
            *(
                "Chunk 1, tokens 4 to 7 ◆ planted",
                "Softmax: probability of softmax 0.900",
                "logit) +2.20",
                "t4 t5 t6 t7",
            ),
            *("token 13 gives it 50 % of its attention: t10 t11 t12 t13", "token 9 gives it 0.25 %"),
        ):
            assert part in text, part
        assert page.locator(".reader").all_inner_texts() == ["t9", "t13"]
        page.click(".inspector button >> nth=0")
        assert "Chunk 3, tokens 12 to 13" in page.inner_text(".inspector")
        assert "No later token reads it." in page.inner_text(".inspector")
        page.hover(".chunk >> nth=0")
        assert "its head left it to linear attention" in page.inner_text(".inspector")
        assert page.locator(".reader").count() == 0


def test_the_slider_shows_how_the_routing_came_about(browser: Any, search: Ended) -> None:
    snapshots = read_snapshots(Run(search.run))
    with opened(browser, search.run / "report.html") as page:
        for place, snapshot in enumerate(snapshots):
            page.evaluate(STEP.replace("3", str(place), 1))
            assert page.inner_text("output") == f"step {snapshot.step}"
            shares = [
                f"{sum(2 * code >= CODES for code in head) / len(head):.2f}"
                for heads in snapshot.layers.values()
                for head in heads
            ]
            assert page.locator(".heads button").all_inner_texts() == shares
            assert told(page)[0] == page.inner_text(".heads [aria-pressed=true]")
        page.focus(".step")
        page.keyboard.press("ArrowRight")
        assert page.inner_text("output") == "after training"


def test_everything_can_be_reached_by_keyboard(browser: Any, search: Ended) -> None:
    with opened(browser, search.run / "report.html") as page:
        page.focus(".heads button[aria-pressed=true]")
        page.keyboard.press("Home")
        assert page.get_attribute(".heads [aria-pressed=true]", "aria-label").startswith("layer 0 head 0:")
        page.keyboard.press("ArrowDown")
        assert page.get_attribute(".heads :focus", "aria-label").startswith("layer 1 head 0:")
        assert page.input_value("select.layer") == "1"
        page.focus(".chunk[tabindex='0']")
        page.keyboard.press("ArrowRight")
        assert "Chunk 1," in page.inner_text(".inspector")
        page.keyboard.press("End")
        assert "Chunk 7," in page.inner_text(".inspector")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1600])
def test_it_is_accessible_and_fits_its_screen(browser: Any, search: Ended, scheme: str, width: int) -> None:
    with opened(browser, search.run / "report.html", width, color_scheme=scheme) as page:
        page.hover(".chunk >> nth=1")
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_tokens_are_shown_and_not_executed(browser: Any, tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", report(title="".join(HOSTILE), routing=routing(HOSTILE, 3), compared=report()))
    with opened(browser, tmp_path / "page.html") as page:
        page.hover(".chunk >> nth=0")
        assert HOSTILE[0] in page.inner_text(".inspector")
        assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_is_light_and_charts_are_no_wider(browser: Any, tmp_path: Path, scheme: str) -> None:
    write_report(tmp_path / "page.html", large())
    widest = "Math.max(...[...document.querySelectorAll('.vega svg')].map((svg) => Number(svg.getAttribute('width'))))"
    with opened(browser, tmp_path / "page.html", 1600, color_scheme=scheme) as page:
        page.evaluate("window.ready.then(() => null)")
        assert page.evaluate(widest) > 1000
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.className") == "paper"
        assert page.evaluate(widest) < 760
        page.emulate_media(media="screen", color_scheme=scheme)
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(widest) > 1000
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert dark == (scheme == "dark")


def test_without_a_script_the_page_says_what_it_can(browser: Any, search: Ended) -> None:
    with opened(browser, search.run / "report.html", java_script_enabled=False) as page:
        assert "to choose another needs JavaScript" in page.inner_text("main")
        assert not page.is_visible("select.layer")
        assert not page.is_visible(".step")


def test_it_plays_on_a_sequence_of_a_single_chunk(browser: Any, tmp_path: Path) -> None:
    one = RoutingMap(["a", "b"], 16, {0: [[0.7]]}, {0: [[1.0]]}, None)
    write_report(tmp_path / "page.html", report(routing=one))
    with opened(browser, tmp_path / "page.html") as page:
        page.hover(".chunk")
        assert "Chunk 0, tokens 0 to 1" in page.inner_text(".inspector")
        assert told(page) == ["1.00", "0.88"]


TRIES = 20
"""Of which one has to be quick: on a machine that is shared most may have to wait for others."""


def seconds_to_open(page: Any) -> float:
    """Until the routing can be explored and every chart is drawn."""
    start = time.monotonic()
    page.reload()
    page.wait_for_selector(".told:not(:empty)")
    page.evaluate("window.ready.then(() => null)")
    return time.monotonic() - start


def test_a_large_page_opens_and_answers_at_once(browser: Any, tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", large())
    with opened(browser, tmp_path / "page.html") as page:
        assert any(seconds_to_open(page) < 2 for _ in range(TRIES)), "with its charts"
        for action in (HOVER, LAYER, STEP):
            assert any(milliseconds(page, action) < 100 for _ in range(TRIES)), action
        assert page.input_value("select.layer") == "7"
