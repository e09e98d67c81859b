"""The curves of a run: a panel for what was logged, in words too."""

import re

from nas.report.page import render
from tests.nas.report.examples import report, words


def test_curves_take_their_colours_from_the_page() -> None:
    text = render(report(history=[{"step": s, "loss": s, "share": 0.1, "recall": 0.2} for s in range(9)]))
    specs = text.split('id="charts">')[1].split("</script>")[0]
    assert "var(--softmax)" in specs
    assert "var(--muted)" in specs
    assert not re.findall(r"#[0-9a-f]{3,6}\b", specs)


def test_curves_appear_only_for_what_was_logged() -> None:
    text = words(report(history=[{"step": 1, "loss": 1.0}, {"step": 2, "bits_per_byte": 2.5}], quality="bits_per_byte"))
    assert "Loss 1 at step 1" in text
    assert "Bits per byte 2.5 at step 2" in text
    assert "lower is better" in text
    assert "Budget multiplier" not in text


def test_how_planted_chunks_are_found_is_a_panel_of_its_own() -> None:
    history = [{"step": 5, "validation_planted_recall": 0.25}, {"step": 9, "validation_planted_precision": 0.5}]
    assert "precision 0.5 at step 9, recall 0.25 at step 5" in words(report(history=history))
    assert 'id="chart-planted"' in render(report(history=history))
    assert 'id="chart-planted"' not in render(report(history=[{"step": 5, "recall": 0.25}]))


def test_values_that_are_not_finite_are_said() -> None:
    text = words(report(history=[{"step": 1, "loss": float("nan")}, {"step": 2, "loss": float("inf")}]))
    assert "inf at step 2; no finite value to draw" in text
    text = words(report(history=[{"step": 1, "loss": 1.0}, {"step": 2, "loss": float("inf")}]))
    assert "inf at step 2" in text
    assert "no finite value" not in text
