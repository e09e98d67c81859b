"""The routing of one sequence as an image: a row for each head, planted chunks marked."""

from matplotlib.collections import PolyCollection

from nas.report.image import BLUE, ORANGE, routing_figure
from nas.report.routing import rows
from tests.nas.report.examples import routing


def test_every_head_has_a_row_with_its_share() -> None:
    given = rows(routing())
    (axes,) = routing_figure(routing()).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.name for row in given]
    shares = [text.get_text() for text in axes.texts]
    assert shares == [f"{row.share:.2f}" for row in given]
    assert axes.get_title(loc="right") == "softmax share 0.438"


def test_chunks_are_coloured_by_operation_and_planted_ones_are_marked() -> None:
    (axes,) = routing_figure(routing()).axes
    bars = {tuple(c.get_facecolor()[0]): len(c.get_paths()) for c in axes.collections if isinstance(c, PolyCollection)}
    to_softmax = sum(weight >= 0.5 for row in rows(routing()) for weight in row.weight)
    assert sorted(bars.values()) == sorted([to_softmax, 16 - to_softmax])
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["softmax (tall)", "linear (low)", "planted (marked ▼)"]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "v"] == [1]  # type: ignore[index]
    assert ORANGE != BLUE
