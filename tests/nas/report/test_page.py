"""`report.html`: what it says, what it refuses to run, how large it gets, and how it is written."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.page_speed.page import large
from nas.evaluation.metrics import HIGHER
from nas.evaluation.routing_map import RoutingMap
from nas.report.curves import panels
from nas.report.data import ReportData
from nas.report.diagram import Stack
from nas.report.explorer import visible
from nas.report.page import QUALITIES, _stacks, render, write_report
from tests.nas.report.examples import HOSTILE, Parsed, report, routing, without_scripts, words


def test_it_says_what_the_run_found() -> None:
    text = words(report())
    for part in (
        *("token_hybrid on recall", "recall 0.991", "softmax share 0.034 (budget 0.035)", "higher is better"),
        *("searched 0.9911", "all linear 0.6422", "Interrupted at step 300 of 1500."),
        *("Loss 0.4375 at step 1,200", "share 0.5, target 0.4 at step 10"),
        "python -m nas.search +space=token_hybrid seed=3",
    ):
        assert part in text, part


def test_the_first_paragraph_is_the_answer_and_the_terms_are_folded() -> None:
    given = report(answer=["Found: linear.", "Routers beat random routing."], folder="2026_mine", started="2026-11-28")
    page = without_scripts(render(given))
    assert re.findall(r"<p[^>]*>([^<]*)", page)[:2] == [
        "Folder 2026_mine, started 2026-11-28",
        "Found: linear. Routers beat random routing.",
    ]
    folded = re.findall(r'<details class="terms">(.*?)</details>', page, re.DOTALL)
    assert len(folded) == 1
    assert "Linear attention" in folded[0]
    assert "compresses the past" not in page.replace(folded[0], "")


def test_the_first_row_is_bold_only_if_it_is_ahead() -> None:
    assert 'class="ahead"' not in without_scripts(render(report()))
    assert '<th scope="row" class="ahead">searched</th>' in render(report(ahead=True))


def test_every_head_has_its_figures() -> None:
    text = words(report())
    assert "layer 0 head 0 0.50 0.60 0.50 1.00" in text
    assert "layer 0 head 1 0.00 0.47 \N{EN DASH} 0.00" in text
    assert "layer 2 head 0 1.00 0.47 0.25 1.00" in text
    assert "layer 2 head 1 0.25 0.78 1.00 1.00" in text
    assert "Softmax share on this sequence, over all layers and heads: 0.438." in text


def test_heads_with_one_operation_are_named() -> None:
    text = words(report())
    assert "Dead: layer 0 head 1 sends every chunk to linear." in text
    assert "Collapsed: layer 2 head 0 sends every chunk to softmax." in text
    every = {0: [[0.0] * 4] * 2, 1: [[1.0] * 4] * 3, 2: [[0.0] * 4, [0.0, 1, 0, 1], [0.0] * 4]}
    text = words(report(routing=RoutingMap(["a"] * 16, 4, every, every, None)))
    assert "Dead: both heads of layer 0 send every chunk to linear." in text
    assert "Collapsed: all 3 heads of layer 1 send every chunk to softmax." in text
    assert "Dead: layer 2 heads 0 and 2 send every chunk to linear." in text


def selected(page: Parsed) -> list[str | None]:
    """Layer and head that are chosen at first."""
    return [attributes["value"] for _, attributes in page.elements if "selected" in attributes]


def test_the_head_that_mixes_most_is_shown_first_also_without_a_script() -> None:
    page = Parsed(render(report()))
    assert selected(page) == ["0", "0"]
    assert [kind.split()[1] for kind in classes(page, "chunk")] == ["linear", "softmax", "linear", "softmax"]
    uniform_first = RoutingMap(["t"] * 4, 2, {3: [[0.1, 0.1], [0.9, 0.1]]}, {3: [[0, 0], [1, 0]]}, None)
    page = Parsed(render(report(routing=uniform_first)))
    assert selected(page) == ["3", "1"]
    assert classes(page, "chunk") == ["chunk softmax", "chunk linear"]
    assert "The colours below show layer 3 head 1" in page.text


def classes(page: Parsed, kind: str) -> list[str]:
    """The classes of every element of a kind."""
    return [given for _, a in page.elements if kind in (given := a.get("class") or "").split()]


def test_tokens_appear_once_in_their_chunks_and_the_last_may_be_short() -> None:
    parsed = Parsed(render(report()))
    assert [len(chunk) for chunk in parsed.chunks] == [4, 4, 4, 2]
    assert [token for chunk in parsed.chunks for token in chunk] == [f"t{i}" for i in range(14)]
    assert ["planted" in box for box in classes(parsed, "chunk")] == [False, True, False, False]


def test_nothing_hostile_becomes_an_element() -> None:
    text = "".join(HOSTILE)
    given = report(
        title=text,
        summary=[(text, text)],
        comparison=[{text: text, "b": text}],
        routing=routing(HOSTILE, 3),
        notes=[text],
        command=text,
    )
    harmless = report(summary=[("a", "b")], comparison=[{"a": "a", "b": "b"}], routing=routing(["a"] * 12, 3))
    check_harmless(given, harmless)
    check_harmless(replace(given, compared=given), replace(harmless, compared=harmless))


def check_harmless(given: ReportData, harmless: ReportData) -> None:
    """The page of ``given`` has what that of ``harmless`` has, and `HOSTILE` as text."""
    parsed, expected = Parsed(render(given)), Parsed(render(harmless))
    assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in expected.elements]
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert parsed.scripts == expected.scripts
    shown = [token for chunk in parsed.chunks for token in chunk]
    assert shown[: len(HOSTILE)] == [visible(token) for token in HOSTILE]


def test_it_fetches_nothing() -> None:
    text = render(report())
    assert "default-src 'none'" in text
    assert "//" not in without_scripts(text)
    fetched = [value for _, a in Parsed(text).elements for name in ("src", "href") if (value := a.get(name))]
    assert fetched
    assert all(value.startswith(("#", "data:")) for value in fetched)


def test_it_is_the_same_page_every_time_and_its_ids_are_unique() -> None:
    assert render(report()) == render(report())
    text = without_scripts(render(report()))
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert set(re.findall(r'href="#([^"]*)"', text)) <= set(ids)


def test_a_run_with_nothing_to_show_says_so() -> None:
    given = report(routing=None, history=[], comparison=[], notes=[], summary=[])
    text = words(given)
    assert "no layer of this model routes" in text
    assert "This run logged no steps." in text
    assert "This run has no final figures." in text
    (script,) = Parsed(render(given)).scripts
    assert "data-sortable" in script


def test_without_planted_content_nothing_is_said_of_it() -> None:
    given = routing()
    text = words(report(routing=RoutingMap(given.tokens, 4, given.layers, given.chosen, None)))
    assert "planted" not in text
    assert "precision" not in text


def test_a_large_model_and_a_long_sequence_stay_under_five_megabytes() -> None:
    assert len(render(large()).encode()) < 5e6
    assert len(render(replace(large(), compared=large())).encode()) < 5e6


def test_two_runs_are_beside_each_other() -> None:
    other = report(title="uniform", summary=[("recall", "0.5"), ("memory", "1 MiB")], routing=routing(["x"] * 14))
    page = Parsed(render(report(compared=other)))
    text = " ".join(page.text.split())
    for part in ("two runs A: token_hybrid on recall B: uniform", "recall 0.991 0.5", "memory \N{EN DASH} 1 MiB"):
        assert part in text, part
    assert [a["id"] for tag, a in page.elements if tag == "script" and "id" in a] == ["charts"]
    assert [chunk[0] for chunk in page.chunks] == ["t0", "t4", "t8", "t12", "x", "x", "x", "x"]
    ids = re.findall(r'\bid="([^"]*)"', render(report(compared=other)))
    assert len(ids) == len(set(ids))


def test_the_page_of_two_runs_names_both_and_what_differs_first() -> None:
    other = report(
        folder="second",
        answer=["Nothing."],
        notes=["Stopped at step 2."],
        history=[{"step": 10, "loss": 2.5, "recall": 0.25}],
    )
    differing = [("data.length", "64", "<b>128")]
    page = report(compared=other, differences=differing, folder="first", together=["A is better."])
    text, parsed = words(page), Parsed(render(page))
    assert text.startswith(
        "token_hybrid on recall (A) beside token_hybrid on recall (B) token_hybrid on recall (A) beside "
        "token_hybrid on recall (B) A: token_hybrid on recall. Folder first B: token_hybrid on recall. Folder second "
        "A is better. B: Nothing. What the terms mean"
    )
    place = text.index("What differs option A: first B: second data.length 64 <b>128")
    assert place < text.index("recall 0.991")
    assert "B: Stopped at step 2." in text
    assert "A loss 0.4375 at step 1,200, B loss 2.5 at step 10" in text
    charts = [a["id"] for _, a in parsed.elements if (a.get("id") or "").startswith("chart-")]
    assert len(charts) == len(set(charts)) == 3
    assert text.count("all linear 0.6422") == 2
    assert "Nothing: data, options and versions of both runs are the same." in words(report(compared=other))


def test_the_layers_of_two_runs_are_beside_each_other() -> None:
    by_hand = Stack("softmax", False, ())
    runs = [Stack("this run", True, ()), by_hand]
    page = report(stacks=runs, compared=report(stacks=runs))
    assert [one.name for one in _stacks({"A": page, "B": page})] == ["A", "B", "softmax"]


def test_a_run_that_routes_nothing_stands_beside_one_that_does() -> None:
    text = words(report(routing=None, compared=report(title="other")))
    assert "No routing to show" in text
    assert "Layers by heads" in text


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write_report(path, report(title="first"))
    first = path.read_bytes()
    assert b"<title>first</title>" in first

    def fail(*_: object) -> None:
        raise OSError("disk full")

    for name in ("nas.report.page.draw_curves", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(name, fail)
            with pytest.raises(OSError, match="disk full"):
                write_report(path, report(title="second"))
        assert path.read_bytes() == first
        assert list(tmp_path.iterdir()) == [path]
    write_report(path, report(title="\udcff"))
    assert rb"<title>\udcff</title>" in path.read_bytes()


@pytest.mark.parametrize(("measure", "higher"), HIGHER.items())
def test_every_figure_of_merit_is_explained_and_drawn_on_its_axis(measure: str, higher: bool) -> None:
    assert f"{'higher' if higher else 'lower'} is better" in QUALITIES[measure]
    (panel,) = (panel for panel in panels(measure) if panel.name == "quality")
    assert panel.limits == ((-0.02, 1.02) if higher else None)
