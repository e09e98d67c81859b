"""What the page's script is told of a routing: every number, to the precision that is shown."""

import math
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.page_speed.page import large
from nas.config import VisualizeConfig
from nas.evaluation.routing_map import CODES, Reader, RoutingMap, Snapshot, code
from nas.report.explorer import NOT_ROUTED, explorer, lead, visible
from nas.report.page import write_report
from nas.report.routing import rows, two_decimals
from nas.results.reopen import report as report_of_run
from nas.runs.folder import Run
from nas.runs.snapshots import read_snapshots
from tests.nas.commands import Ended
from tests.nas.report.browser import opened, violations
from tests.nas.report.examples import HOSTILE, report, routing

Weights = dict[int, list[list[float]]]
PROBABILITIES: Weights = {1: [[0.25, 0.5, 1.0], [0.0, 1e-9, 0.9]], 3: [[0.4, 0.6, 0.7], [0.1, 0.2, 0.3]]}


def given(**changed: Any) -> RoutingMap:
    """Two layers with two heads each over ten tokens in three chunks."""
    chosen = {layer: [[float(p >= 0.5) for p in head] for head in heads] for layer, heads in PROBABILITIES.items()}
    fields = {"tokens": list("abcdefghij"), "chunk_size": 4, "layers": PROBABILITIES, "chosen": chosen, "planted": None}
    return RoutingMap(**(fields | changed))


def told(routing: RoutingMap, snapshots: list[Snapshot] | None = None, **room: int) -> dict[str, Any]:
    data: dict[str, Any] = explorer("x", routing, snapshots or [], **room)["data"]
    return data


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(b64decode(text), dtype=kind)


def test_leads_give_back_the_probabilities() -> None:
    data = told(given())
    leads = numbers(data["lead"], "<i2") * data["leadUnit"]
    expected = [p for heads in PROBABILITIES.values() for head in heads for p in head]
    np.testing.assert_allclose(1 / (1 + np.exp(-leads)), expected, atol=0.0005)
    assert leads[4] == pytest.approx(math.log(1e-9), abs=0.002)
    assert [lead(p) for p in (0.0, 0.5, 1.0)] == [-127, 0, 127]
    assert numbers(data["weight"], "<u1").tolist() == [0, 255, 255, 0, 0, 255, 0, 255, 255, 0, 0, 0]
    assert data["heads"] == [[1, 0], [1, 1], [3, 0], [3, 1]]


@pytest.mark.parametrize(("tokens", "kind"), [(10, "<u2"), (70_000, "<u4")])
def test_readers_are_told_with_their_part(tokens: int, kind: str) -> None:
    size = -(-tokens // 3)
    readers = {
        layer: [[[Reader(tokens - 1, 0.5), Reader(size, 0.25)], [], [Reader(0, 1.0)] * 4]] * 2 for layer in (1, 3)
    }
    data = told(given(tokens=["t"] * tokens, chunk_size=size, readers=readers))
    first = numbers(data["readers"]["tokens"], kind)[:9]
    assert first.tolist() == [tokens, size + 1, 0, 0, 0, 0, 1, 1, 1]
    weights = numbers(data["readers"]["weights"], "<u2")[:9] * data["weightUnit"]
    np.testing.assert_allclose(weights, [0.5, 0.25, 0, 0, 0, 0, 1, 1, 1], atol=1e-4)
    assert told(given())["readers"] is None


def taken(step: int, chunk_size: int = 4, chunks: int = 3) -> Snapshot:
    return Snapshot(step, chunk_size, {1: [bytes([step + n for n in range(chunks)])] * 2})


def test_snapshots_are_told_by_step_and_where_nothing_was_routed() -> None:
    shown = told(given(), [taken(5), taken(9)])["snapshots"]
    assert shown["steps"] == [5, 9]
    nothing = [NOT_ROUTED] * 6
    assert numbers(shown["codes"], "<u1").tolist() == [*[5, 6, 7] * 2, *nothing, *[9, 10, 11] * 2, *nothing]
    assert NOT_ROUTED > CODES > code(1.0)


def test_snapshots_in_other_chunks_are_told_in_those_of_the_map() -> None:
    shown = told(given(), [taken(5, 8, 2), taken(10, 2, 5)])["snapshots"]
    codes = numbers(shown["codes"], "<u1").reshape(2, 4, 3)
    assert codes[0, 0].tolist() == [5, 5, 6]
    assert codes[1, 0].tolist() == [10, 12, 14]


def test_snapshots_of_another_sequence_are_left_out() -> None:
    assert told(given(), [taken(5, 4, 9)])["snapshots"] is None
    assert told(given())["snapshots"] is None


def test_of_more_snapshots_than_there_is_room_for_some_are_told_evenly() -> None:
    every = [taken(step) for step in range(1, 21)]
    assert told(given(), every, snapshot_bytes=4 * 12)["snapshots"]["steps"] == [5, 10, 15, 20]
    assert told(given(), every, snapshot_bytes=0)["snapshots"]["steps"] == [20]


def test_chunks_of_a_layer_that_are_larger_than_those_shown_are_told() -> None:
    assert told(given(decided_in={1: 8}))["decidedIn"] == [8, 8, 4, 4]


def test_figures_are_rounded_as_the_script_rounds_them() -> None:
    given = (0.125, 0.145, 1.005, 0.995, 0.0, 1, None)
    assert [two_decimals(x) for x in given] == ["0.13", "0.14", "1.00", "0.99", "0.00", "1.00", "\N{EN DASH}"]


@pytest.mark.parametrize(
    ("token", "shown"),
    [("\x00", r"\x00"), ("\n", r"\n"), ("\u202e", r"\u202e"), ("\ud800", r"\ud800"), (" é🙂", " é🙂")],
    ids=["null", "newline", "override", "surrogate", "plain"],
)
def test_characters_that_do_not_show_are_spelt(token: str, shown: str) -> None:
    assert visible(token) == shown
    assert visible(HOSTILE[6]) == HOSTILE[6]


HOVER = "document.querySelectorAll('.chunk')[200].dispatchEvent(new PointerEvent('pointerover', { bubbles: true }))"


LAYER = (
    "const layer = document.querySelector('select.layer'); layer.value = 7; layer.dispatchEvent(new Event('change'))"
)


STEP = "const step = document.querySelector('.step'); step.value = 3; step.dispatchEvent(new Event('input'))"


def of_head(page: Any) -> list[str]:
    """What the page says of the head that is shown: share, entropy, precision and recall."""
    return re.findall("\\d\\.\\d\\d|\N{EN DASH}", page.inner_text(".status"))


def test_every_head_is_shown_as_the_run_has_it(browser: Any, search: Ended) -> None:
    shown = report_of_run(VisualizeConfig(run=str(search.run), tokens=1)).routing
    assert shown is not None
    with opened(browser, search.run / "report.html") as page:
        for row in rows(shown):
            page.select_option("select.layer", str(row.layer))
            page.select_option("select.head", str(row.head))
            assert of_head(page) == [two_decimals(x) for x in (row.share, row.entropy, row.precision, row.recall)]
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
        assert "this head sends it to linear attention" in page.inner_text(".inspector")
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
            assert of_head(page)[0] == page.inner_text(".heads [aria-pressed=true]")
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


COVERED = """() => {
  const above = [...document.querySelectorAll('.view *')].filter((one) =>
    ['sticky', 'fixed'].includes(getComputedStyle(one).position) && !one.closest('table'));
  const visible = [...document.querySelectorAll('.chunk.chosen, .inspector')].map((one) => {
    const box = one.getBoundingClientRect();
    return one.contains(document.elementFromPoint(box.x + box.width / 2, box.y + Math.min(box.height - 4, 12)));
  });
  return [above.map((one) => one.className), visible];
}"""
HIDDEN = "document.querySelector('.scroll').scrollWidth > document.querySelector('.scroll').clientWidth"


def test_its_panels_cover_nothing_and_tables_use_the_room(browser: Any, tmp_path: Path) -> None:
    wide = [{"model": "searched"} | {f"recall at {64 * 2**power:,} tokens": "0.5" for power in range(6)}]
    write_report(tmp_path / "page.html", replace(large(), history=[], snapshots=[], comparison=wide))
    with opened(browser, tmp_path / "page.html", 1920) as page:
        assert page.evaluate("document.querySelector('table.comparison').clientWidth") > 1700
        for width, height in ((1280, 800), (800, 600), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("document.querySelector('.explorer').scrollIntoView({ block: 'nearest' })")
            page.focus(".chunk >> nth=100")
            page.keyboard.press("ArrowRight")
            page.evaluate("document.querySelector('.explorer').scrollIntoView({ block: 'nearest' })")
            assert page.evaluate(COVERED) == [[], [True, True]], width
        assert page.evaluate(HIDDEN)
        shadow = page.evaluate("getComputedStyle(document.querySelector('.scroll')).backgroundAttachment")
        assert shadow == "local, local, scroll, scroll"
        first = "document.querySelector('.comparison tbody th').getBoundingClientRect().x"
        before = page.evaluate(first)
        page.evaluate("document.querySelector('.scroll').scrollLeft = 100")
        assert page.evaluate(first) == before


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
        assert "selecting another head needs JavaScript" in page.inner_text("main")
        assert not page.is_visible("select.layer")
        assert not page.is_visible(".step")


def test_it_plays_on_a_sequence_of_a_single_chunk(browser: Any, tmp_path: Path) -> None:
    one = RoutingMap(["a", "b"], 16, {0: [[0.7]]}, {0: [[1.0]]}, None)
    write_report(tmp_path / "page.html", report(routing=one))
    with opened(browser, tmp_path / "page.html") as page:
        page.hover(".chunk")
        assert "Chunk 0, tokens 0 to 1" in page.inner_text(".inspector")
        assert of_head(page) == ["1.00", "0.88"]


def test_a_large_page_shows_its_charts_and_answers(browser: Any, tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", large())
    with opened(browser, tmp_path / "page.html") as page:
        page.evaluate("window.ready.then(() => null)")
        assert page.locator(".vega").count() == page.locator(".vega svg.marks").count() > 0
        page.evaluate(LAYER)
        assert page.input_value("select.layer") == "7"
        page.evaluate(STEP)
        assert re.fullmatch(r"step \d+", page.inner_text("output"))
        page.evaluate(HOVER)
        assert "Chunk 200," in page.inner_text(".inspector")
