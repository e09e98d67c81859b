"""Checks on the labels in a figure of a comparison."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from nas.comparisons.summary import Summary


def names(axes: Axes, summary: Summary) -> dict[str, Annotation]:
    known = [row["model"] for row in summary.rows]
    return {one.get_text(): one for one in axes.texts if isinstance(one, Annotation) and one.get_text() in known}


def assert_apart(figure: Figure, summary: Summary) -> None:
    """Assert that no label of a contender overlaps another or is cut off at the edge of the figure."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        found = names(axes, summary)
        assert set(found) == {row["model"] for row in summary.rows}
        boxes = [Text.get_window_extent(one) for one in found.values()]
        assert all(Bbox.intersection(a, b) is None for a, b in combinations([box.padded(-1) for box in boxes], 2))
        assert all(figure.bbox.contains(x, y) for box in boxes for x, y in box.corners())
