"""Figures for papers: one style whatever the user's own, the same bytes each time."""

from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from nas.report.style import COLOURS, STYLE, mark_training_length, plain_style, save


def drawn() -> Figure:
    with plain_style(STYLE):
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().plot([1, 2], [3, 4])
    return figure


def test_the_users_own_style_is_put_aside_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 31)
    with plain_style():
        assert matplotlib.rcParams["font.size"] == matplotlib.rcParamsDefault["font.size"]
    with plain_style(STYLE):
        assert matplotlib.rcParams["font.size"] == STYLE["font.size"]
    assert matplotlib.rcParams["font.size"] == 31


def test_a_figure_is_written_as_png_and_svg_the_same_each_time(tmp_path: Path) -> None:
    paths = save(drawn(), tmp_path, "one")
    assert [path.name for path in paths] == ["one.png", "one.svg"]
    first = [path.read_bytes() for path in paths]
    assert first[0].startswith(b"\x89PNG")
    assert b"<svg" in first[1]
    assert [path.read_bytes() for path in save(drawn(), tmp_path, "one")] == first


def test_colours_are_told_apart() -> None:
    assert len(set(COLOURS)) == len(COLOURS)


def test_the_training_length_is_marked_if_the_axis_reaches_it() -> None:
    (axes,) = drawn().axes
    mark_training_length(axes, 3)
    assert not axes.texts
    mark_training_length(axes, 2)
    assert [text.get_text() for text in axes.texts] == ["training length"]
    assert len(axes.lines) == 2
