"""The figures of a comparison: what they show, that no names overlap, and the files."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from nas.comparisons.figures.draw import draw
from nas.comparisons.figures.labels import spread
from nas.comparisons.figures.quality_against_cost import quality_against_cost
from nas.comparisons.figures.quality_curves import bits_by_position, quality_against_length
from nas.comparisons.results import Comparison
from nas.comparisons.summary import Answer
from tests.nas.comparisons.examples import by_seed, comparison, entrant, recall, text, trained


def names(axes: Axes, answer: Answer) -> dict[str, Annotation]:
    known = [row["model"] for row in answer.rows]
    return {one.get_text(): one for one in axes.texts if isinstance(one, Annotation) and one.get_text() in known}


def assert_apart(figure: Figure, answer: Answer) -> None:
    """No name of an entrant is over another, or cut off at the figure's edge."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        found = names(axes, answer)
        assert set(found) == {row["model"] for row in answer.rows}
        boxes = [Text.get_window_extent(one) for one in found.values()]
        assert all(Bbox.intersection(a, b) is None for a, b in combinations([box.padded(-1) for box in boxes], 2))
        assert all(figure.bbox.contains(x, y) for box in boxes for x, y in box.corners())


@pytest.mark.parametrize("cost", ["share", "kv_bytes"])
@pytest.mark.parametrize("given", [recall(), text()], ids=["recall", "text"])
def test_quality_against_cost(given: Comparison, cost: str) -> None:
    answer = Answer.of(given)
    figure = quality_against_cost(answer, cost)
    assert figure is not None
    assert_apart(figure, answer)
    assert [axes.get_title() for axes in figure.axes] == [
        "at the training length, 512 tokens",
        f"at {given.factors[-1]}x the training length, {512 * given.factors[-1]:,} tokens",
    ]
    assert "is better" in figure.axes[0].get_ylabel()


def test_the_front_goes_through_those_that_none_dominates() -> None:
    answer = Answer.of(
        comparison(
            by_seed("softmax", 0.9, 0.9, share=1.0),
            by_seed("linear", 0.1, 0.1, share=0.0),
            by_seed("found", 0.8, 0.8, share=0.25, searched=True),
            by_seed("worse", 0.7, 0.7, share=0.5),
        )
    )
    figure = quality_against_cost(answer, "share")
    assert figure is not None
    (axes,) = figure.axes
    line = axes.lines[0].get_xydata().tolist()  # type: ignore[union-attr]
    assert [tuple(round(value, 6) for value in corner) for corner in line] == [
        (0.0, 0.1),
        (0.25, 0.1),
        (0.25, 0.8),
        (1.0, 0.8),
        (1.0, 0.9),
        (1.06, 0.9),
    ]


def test_quality_against_length_has_a_curve_and_a_band_for_each() -> None:
    answer = Answer.of(recall())
    figure = quality_against_length(answer)
    assert figure is not None
    assert_apart(figure, answer)
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [512, 1024, 2048, 4096]  # type: ignore[union-attr]
    assert axes.lines[0].get_ydata()[-1] == answer.rows[0]["quality_8x"]  # type: ignore[index]
    assert len(axes.collections) == len(answer.rows)
    assert "training length" in [one.get_text() for one in axes.texts]


def test_bits_by_position_are_of_the_longest_sequences() -> None:
    answer = Answer.of(text())
    figure = bits_by_position(answer)
    assert figure is not None
    assert_apart(figure, answer)
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == list(range(64, 1025, 64))  # type: ignore[union-attr]
    assert axes.lines[0].get_ydata()[0] == pytest.approx(1.96 + 20 / 84)  # type: ignore[index]


def test_segments_that_diverged_are_left_out() -> None:
    runs = [trained(seed, {1: 2.0}, segments={1: [(64, bits)]}) for seed, bits in enumerate((2.0, math.nan, 3.0))]
    gone = [trained(seed, {1: 2.0}, segments={1: [(64, math.nan)]}) for seed in range(3)]
    answer = Answer.of(comparison(entrant("softmax", *runs), entrant("linear", *gone), quality="bits_per_byte"))
    figure = bits_by_position(answer)
    assert figure is not None
    assert list(names(figure.axes[0], answer)) == ["softmax"]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [2.5]  # type: ignore[union-attr]


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    one = by_seed("softmax", 0.5)
    unknown = replace(one, runs=tuple(replace(run, share={1: math.nan}) for run in one.runs))
    paths = draw(Answer.of(comparison(unknown)), tmp_path)
    assert [path.name for path in paths] == ["quality_by_kv_bytes.png", "quality_by_kv_bytes.svg"]


def test_figures_are_written_as_png_and_svg_the_same_each_time(tmp_path: Path) -> None:
    answer = Answer.of(text())
    paths = draw(answer, tmp_path)
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir())
    assert {path.stem for path in paths} == {
        "quality_by_share",
        "quality_by_kv_bytes",
        "quality_by_length",
        "bits_by_position",
    }
    first = {path: path.read_bytes() for path in paths}
    assert all(first[path].startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml") for path in paths)
    assert {path: path.read_bytes() for path in draw(answer, tmp_path)} == first


def test_names_are_spread_no_more_than_they_need() -> None:
    assert spread([10.0, 50.0], 5.0, 0.0, 100.0) == [10.0, 50.0]
    assert spread([50.0, 50.0, 50.0], 10.0, 0.0, 100.0) == [40.0, 50.0, 60.0]
    assert spread([99.0, 98.0], 10.0, 0.0, 100.0) == [100.0, 90.0]
    assert spread([0.0, 0.0, 80.0], 10.0, 0.0, 100.0) == [0.0, 10.0, 80.0]
