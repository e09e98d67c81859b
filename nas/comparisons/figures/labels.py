"""Labels beside points and at the ends of curves, placed without overlap; they replace a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from random import Random
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right and top in pixels."""
DISTANCES = (9, 18, 30, 44, 60)
"""Distances from the centre of a marker to its label in typographic points; a line connects all but the nearest."""
DIRECTIONS = {
    (1, 0): ("left", "center"),
    (-1, 0): ("right", "center"),
    (0, 1): ("center", "bottom"),
    (0, -1): ("center", "top"),
    (0.75, 0.75): ("left", "bottom"),
    (0.75, -0.75): ("left", "top"),
    (-0.75, 0.75): ("right", "bottom"),
    (-0.75, -0.75): ("right", "top"),
}
"""Directions from a marker to its label, with the alignment of the text; the first free direction is used."""
SIDES = {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0, "top": 1.0}
"""Anchor of a text by alignment, in widths or heights of the text; the connecting line ends there."""
MARK = 6.0
"""Distance from the centre of a marker to its edge, in typographic points."""
ORDERS = 20
"""Number of random orders in which labels are placed; earlier labels get nearer places."""
ASIDE = 1.06
"""Left end of the labels of curves, in widths of the axes."""


@dataclass(frozen=True)
class Label:
    """A name for a point of the data; ``low`` and ``high`` are the ends of its error bar."""

    text: str
    x: float
    y: float
    low: float
    high: float
    colour: str
    bold: bool


def label_points(axes: Axes, labels: Sequence[Label], steps: Sequence[tuple[float, float]] = ()) -> None:
    """Put each label beside its marker, as near as possible without overlap.

    Labels and their lines stay inside the axes. They avoid markers, error bars, steps and other labels. The layout of
    the figure and the limits of the axes must be final.

    Args:
        axes: the axes with the markers.
        labels: the labels.
        steps: corners of a step line, in data coordinates.
    """
    point = _figure(axes).dpi / 72
    inside = np.array([axes.get_window_extent().extents])
    marks = [box for label in labels for box in _mark(axes, label, point)]
    corners = [tuple(corner) for corner in axes.transData.transform(steps)] if steps else []
    marks += [_around(a, b, point) for a, b in pairwise(corners)]
    rivals = [_candidates(axes, label, inside, point) for label in labels]
    orders = [list(range(len(labels)))]
    draw = Random(0)
    orders += [draw.sample(orders[0], len(labels)) for _ in range(ORDERS)]
    best = min((_placed(rivals, marks, order) for order in orders), key=lambda placed: placed[:2])[2]
    for label, candidate in zip(labels, best, strict=True):
        distance, direction = candidate.distance, candidate.direction
        at = distance * direction[0], distance * direction[1]
        text = _annotate(axes, label, distance > DISTANCES[0], *DIRECTIONS[direction], at, "offset points")
        text.set_in_layout(False)


class _Candidate(NamedTuple):
    """A place for a label.

    Attributes:
        distance: from the marker, one of `DISTANCES`.
        direction: from the marker, one of `DIRECTIONS`.
        boxes: [n, 4] boxes that the text and the line cover, in pixels.
        outside: area of the text outside the axes, in square pixels.
    """

    distance: int
    direction: tuple[float, float]
    boxes: NDArray[np.float64]
    outside: float


def _candidates(axes: Axes, label: Label, inside: NDArray[np.float64], point: float) -> list[_Candidate]:
    """Return every place for a label, the nearest first."""
    at, size = tuple(axes.transData.transform((label.x, label.y))), _size(axes, label)
    found = []
    for distance, direction in product(DISTANCES, DIRECTIONS):
        text = _box(at, size, distance * point, direction)
        boxes = np.array([text, *_line(at, distance * point, direction, point)])
        found.append(_Candidate(distance, direction, boxes, size[0] * size[1] - _shared(boxes[:1], inside)))
    return found


def _placed(
    rivals: Sequence[Sequence[_Candidate]], marks: Sequence[Box], order: Sequence[int]
) -> tuple[float, int, list[_Candidate]]:
    """Place labels one after the other; return the overlapping area, the total distance, and the place of each label.

    Args:
        rivals: the possible places of each label.
        marks: boxes that labels must avoid, in pixels.
        order: indices of the labels in the order of placing.
    """
    taken, total, chosen = np.array(marks), 0.0, {}
    for index in order:
        covered = [round(_shared(one.boxes, taken) + one.outside, 3) for one in rivals[index]]
        best = int(np.argmin(covered))  # the first of equals
        chosen[index], total = rivals[index][best], total + covered[best]
        taken = np.concatenate([taken, chosen[index].boxes])
    placed = [chosen[index] for index in range(len(rivals))]
    return total, sum(one.distance for one in placed), placed


def label_ends(axes: Axes, labels: Sequence[Label]) -> None:
    """Put each label to the right of the axes, as near to the height of its curve's end as possible without overlap.

    The limits of the axes must be final; the layout of the figure reserves the width of the labels.
    """
    texts = [_annotate(axes, label, True, "left", "center", (ASIDE, 0.5), "axes fraction") for label in labels]
    _figure(axes).draw_without_rendering()
    inside = axes.get_window_extent()
    gap = 1.1 * max(_size(axes, label)[1] for label in labels)
    wanted = [float(axes.transData.transform((label.x, label.y))[1]) for label in labels]
    for text, height in zip(texts, spread(wanted, gap, inside.y0, inside.y1), strict=True):
        text.set_position((ASIDE, (height - inside.y0) / inside.height))


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions at least ``gap`` apart, in the order of ``wanted`` and with least squared distance from it.

    They lie between ``low`` and ``high`` if this range is large enough.
    """
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    free = isotonic_regression(np.asarray(wanted)[order] - steps).x
    placed = np.empty(len(wanted))
    placed[order] = np.clip(free, low, max(low, high - float(steps[-1]))) + steps
    return [float(place) for place in placed]


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _annotate(
    axes: Axes, label: Label, line: bool, horizontal: str, vertical: str, at: tuple[float, float], unit: str
) -> Annotation:
    arrow = {
        "arrowstyle": "-",
        "relpos": (SIDES[horizontal], SIDES[vertical]),
        "color": label.colour,
        "linewidth": 0.7,
        "alpha": 0.7,
        "shrinkA": 0,
        "shrinkB": 4,
    }
    return axes.annotate(
        label.text,
        xy=(label.x, label.y),
        xytext=at,
        textcoords=unit,
        horizontalalignment=horizontal,
        verticalalignment=vertical,
        arrowprops=arrow if line else None,
        annotation_clip=False,
        color=label.colour,
        fontweight=_weight(label),
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def _weight(label: Label) -> str:
    return "bold" if label.bold else "normal"


def _size(axes: Axes, label: Label) -> tuple[float, float]:
    """Return width and height of the text in pixels."""
    text = axes.text(0, 0, label.text, fontweight=_weight(label))
    extent = text.get_window_extent()
    text.remove()
    return extent.width, extent.height


def _around(a: Sequence[float], b: Sequence[float], half: float) -> Box:
    """Return the box between two points, extended by ``half`` on all sides."""
    return min(a[0], b[0]) - half, min(a[1], b[1]) - half, max(a[0], b[0]) + half, max(a[1], b[1]) + half


def _mark(axes: Axes, label: Label, point: float) -> list[Box]:
    """Return the boxes of a marker and its error bar, in pixels."""
    middle, low, high = axes.transData.transform([(label.x, at) for at in (label.y, label.low, label.high)])
    return [_around(middle, middle, MARK * point), _around(low, high, point)]


def _box(at: Sequence[float], size: tuple[float, float], distance: float, direction: tuple[float, float]) -> Box:
    """Return the box of a text at a distance and direction from its marker, in pixels."""
    across, up = DIRECTIONS[direction]
    left = at[0] + distance * direction[0] - size[0] * SIDES[across]
    bottom = at[1] + distance * direction[1] - size[1] * SIDES[up]
    return left, bottom, left + size[0], bottom + size[1]


def _line(at: Sequence[float], distance: float, direction: tuple[float, float], point: float) -> list[Box]:
    """Return boxes that cover the line from the edge of a marker to its label, in pixels."""
    along = np.arange(2 * MARK * point, distance - point, 2 * point)
    ends = [(at[0] + step * direction[0], at[1] + step * direction[1]) for step in along]
    return [_around(end, end, point) for end in ends]


def _shared(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the total overlapping area of boxes ``a`` [n, 4] and ``b`` [m, 4], over all pairs."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return float(np.clip(high - low, 0, None).prod(-1).sum())
