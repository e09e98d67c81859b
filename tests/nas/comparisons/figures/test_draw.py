"""The files of the figures of a comparison."""

import math
from dataclasses import replace
from pathlib import Path

from nas.comparisons.figures.draw import draw
from nas.comparisons.summary import Summary
from tests.nas.comparisons.examples import by_seed, comparison, text


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    one = by_seed("softmax", 0.5)
    unknown = replace(one, runs=tuple(replace(run, share={1: math.nan}) for run in one.runs))
    paths = draw(Summary.of(comparison(unknown)), tmp_path)
    assert [path.name for path in paths] == ["quality_by_kv_bytes.png", "quality_by_kv_bytes.svg"]


def test_figures_are_written_as_png_and_svg_the_same_each_time(tmp_path: Path) -> None:
    summary = Summary.of(text())
    paths = draw(summary, tmp_path)
    assert sorted(path.name for path in paths) == sorted(path.name for path in tmp_path.iterdir())
    assert {path.stem for path in paths} == {
        "quality_by_share",
        "quality_by_kv_bytes",
        "quality_by_length",
        "bits_by_position",
    }
    first = {path: path.read_bytes() for path in paths}
    assert all(first[path].startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml") for path in paths)
    assert {path: path.read_bytes() for path in draw(summary, tmp_path)} == first
