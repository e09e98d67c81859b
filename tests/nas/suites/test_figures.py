"""Figures of the suites: a curve for each length, and a cell for each task."""

import math
from pathlib import Path

import numpy as np

from nas.report.style import COLOURS
from nas.suites.figures import draw, identifiers, ruler, text
from nas.suites.result import Result, Score, Segment

CURVE = [Segment(0, 16, Score(0.5, 0.1, 4)), Segment(16, 32, Score(0.75, float("nan"), 1))]


def test_a_curve_has_a_band_and_the_training_length_is_marked() -> None:
    results = [Result("text", "", length, 1, curves={"curve": CURVE}) for length in (32, 64)]
    (axes,) = text(results, 16).axes
    drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines if line.get_marker() == "o"]
    assert drawn == [[0.5, 0.75]] * 2
    assert axes.lines[1].get_color() == COLOURS[0]  # the shorter one, above the other
    legend = axes.get_legend()
    assert legend is not None
    assert [entry.get_text() for entry in legend.get_texts()] == ["32 tokens", "64 tokens"]
    assert [note.get_text() for note in axes.texts] == ["training length"]
    assert not text(results, 1000).axes[0].texts


def test_chance_is_a_line() -> None:
    measures = ("accuracy on names", "accuracy on their tokens")
    curves = {f"{measure} by distance": CURVE for measure in measures}
    nothing = Result(
        "identifiers", "", 16, 1, chance=dict.fromkeys(measures, math.nan), curves={name: [] for name in curves}
    )
    some = Result("identifiers", "", 32, 1, chance=dict.fromkeys(measures, 0.2), curves=curves)
    panels = identifiers([nothing, some], 16).axes
    assert len(panels) == 2
    assert all([0.2, 0.2] in [np.asarray(line.get_ydata()).tolist() for line in axes.lines] for axes in panels)


def test_missing_tasks_are_empty_cells(tmp_path: Path) -> None:
    results = [
        Result("ruler", task, length, 1, {"score": Score(value, 0, 1)})
        for task, length, value in (("a_b", 16, 1.0), ("c", 32, 0.0))
    ]
    (axes,) = ruler(results, 16).axes
    assert [cell.get_text() for cell in axes.texts] == ["1.00", "0.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a b", "c"]
    assert [path.name for path in draw({"ruler": results}, 16, tmp_path)] == ["ruler.png", "ruler.svg"]
