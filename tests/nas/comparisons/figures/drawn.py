"""What stands in a figure of a comparison."""

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from nas.comparisons.summary import Answer


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
