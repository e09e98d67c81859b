"""Quality against cost: a mark for each entrant, and the Pareto front."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from nas.comparisons.figures.entrant_style import Look, looks, quality_title
from nas.comparisons.figures.labels import Label, label_points
from nas.comparisons.statistics import pareto
from nas.comparisons.summary import Answer, Row, value
from nas.report.style import MUTED, STYLE, plain_style
from nas.report.units import context, size

FRONT: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (4, 2))}
"""The Pareto front's line."""
Point: TypeAlias = tuple[float, float]


class Cost(NamedTuple):
    """What quality is set against."""

    column: Callable[[Answer, int], str]
    title: Callable[[Answer], str]
    logarithmic: bool


COSTS = {
    "share": Cost(lambda answer, factor: f"share_{factor}x", lambda answer: "softmax share", False),
    "kv_bytes": Cost(
        lambda answer, factor: f"kv_bytes_{answer.comparison.context}",
        lambda answer: f"keys, values and states at {context(answer.comparison.context)} tokens",
        True,
    ),
}
"""By name, in the figures' file names."""


def quality_against_cost(answer: Answer, cost: str) -> Figure | None:
    """A mark for each entrant with the interval of its quality, and the Pareto front as a line.

    One panel at the shortest length that was measured and one at the longest. Entrants whose cost is not known are left
    out; None where that is all of them.

    Args:
        answer: of the comparison.
        cost: one of `COSTS`.
    """
    factors = answer.comparison.factors
    shown = [factor for factor in sorted({min(factors), max(factors)}) if known(answer, COSTS[cost], factor)]
    if not shown:
        return None
    with plain_style(STYLE):
        figure = Figure(figsize=(1.2 + 5.2 * len(shown), 4.6), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        drawn = [_marks(axes, answer, COSTS[cost], factor) for axes, factor in zip(panels, shown, strict=True)]
        panels[0].set_ylabel(quality_title(answer))
        figure.legend(handles=_legend(answer), loc="outside lower center", ncols=3, frameon=False)
        figure.draw_without_rendering()
        for axes, (labels, front) in zip(panels, drawn, strict=True):
            label_points(axes, labels, front)
    return figure


def known(answer: Answer, cost: Cost, factor: int) -> list[tuple[Row, Look]]:
    """The entrants whose cost is known."""
    column = cost.column(answer, factor)
    every = zip(answer.rows, looks(answer), strict=True)
    return [(row, look) for row, look in every if math.isfinite(value(row, column))]


def _marks(axes: Axes, answer: Answer, cost: Cost, factor: int) -> tuple[list[Label], list[Point]]:
    """Draw a panel of quality against cost; returns the names to put in it and the corners of the front's line."""
    column = cost.column(answer, factor)
    shown = known(answer, cost, factor)
    points = [(value(row, column), value(row, f"quality_{factor}x")) for row, _ in shown]
    _cost_axis(axes, cost, [x for x, _ in points])
    front = corners(points, answer.comparison.higher, axes.get_xlim()[1])
    axes.plot(*zip(*front, strict=True), zorder=1.5, **FRONT)
    labels = []
    for (row, look), (x, y) in zip(shown, points, strict=True):
        low, high = _ends(row, factor, y)
        axes.errorbar(
            x,
            y,
            [[y - low], [high - y]],
            fmt=look.marker,
            color=look.colour,
            capsize=3,
            elinewidth=1.4,
            markersize=8.5,
            markerfacecolor=look.face,
            markeredgewidth=1.6,
            zorder=3 + look.searched,
        )
        labels.append(Label(str(row["model"]), x, y, low, high, look.colour, look.searched))
    axes.set_xlabel(cost.title(answer))
    length = answer.comparison.length
    times = "" if factor == 1 else f"{factor}x "
    axes.set_title(f"at {times}the training length, {length * factor:,} tokens")
    axes.margins(y=0.18)
    return labels, front


def corners(points: Sequence[Point], higher: bool, end: float) -> list[Point]:
    """Of the line that tells the best quality up to each cost, from the cheapest entrant to the end of the axis."""
    front = sorted(points[index] for index in pareto(points, higher))
    following = [x for x, _ in front[1:]] + [end]
    return [corner for (x, y), until in zip(front, following, strict=True) for corner in ((x, y), (until, y))]


def _ends(row: Row, factor: int, mean: float) -> tuple[float, float]:
    """Of the bar through a mark, which has no length where there is no interval."""
    low, high = value(row, f"low_{factor}x"), value(row, f"high_{factor}x")
    return (mean, mean) if math.isnan(low) else (low, high)


def _cost_axis(axes: Axes, cost: Cost, costs: Sequence[float]) -> None:
    if cost.logarithmic:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: size(x).replace(".00 ", " ").replace(".0 ", " "))
        axes.set_xlim(min(costs) / 2, max(costs) * 2)
    else:
        axes.set_xlim(-0.06, 1.06)


def _legend(answer: Answer) -> list[Line2D]:
    """What fillings and the line mean; who is who stands at the marks."""
    style: dict[str, Any] = {"color": MUTED, "marker": "o", "linestyle": "", "markersize": 8}
    marks = [
        Line2D([], [], label="found by a search", markerfacecolor=MUTED, **style),
        Line2D([], [], label="baseline", markerfacecolor="white", **style),
    ]
    kinds = [bool(answer.comparison.searched), bool(answer.comparison.baselines)]
    return [
        *(mark for mark, some in zip(marks, kinds, strict=True) if some),
        Line2D([], [], label="Pareto front", **FRONT),
    ]
