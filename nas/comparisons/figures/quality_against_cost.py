"""Quality against cost: a marker for each contender, and the Pareto front."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from nas.comparisons.figures.contender_style import Style, quality_title, styles
from nas.comparisons.figures.labels import Label, label_points
from nas.comparisons.statistics import pareto
from nas.comparisons.summary import Row, Summary, value
from nas.report.style import MUTED, STYLE, plain_style
from nas.report.units import context, size

FRONT: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (4, 2))}
"""Style of the line of the Pareto front."""
Point: TypeAlias = tuple[float, float]


class Cost(NamedTuple):
    """A cost on the horizontal axis.

    Attributes:
        column: the column of the rows, for a summary and a length factor.
        title: the title of the axis.
        logarithmic: whether the axis is logarithmic.
    """

    column: Callable[[Summary, int], str]
    title: Callable[[Summary], str]
    logarithmic: bool


COSTS = {
    "share": Cost(lambda summary, factor: f"share_{factor}x", lambda summary: "softmax share", False),
    "kv_bytes": Cost(
        lambda summary, factor: f"kv_bytes_{summary.comparison.context}",
        lambda summary: f"cache size at {context(summary.comparison.context)} tokens",
        True,
    ),
}
"""Costs by their name in file names."""


def quality_against_cost(summary: Summary, cost: str) -> Figure | None:
    """Draw quality with its interval against cost, and the Pareto front; return None if no contender has a known cost.

    One panel shows the shortest measured length and one the longest. Contenders without a known cost are left out.

    Args:
        summary: the summary of the comparison.
        cost: the cost, one of `COSTS`.
    """
    factors = summary.comparison.factors
    shown = [factor for factor in sorted({min(factors), max(factors)}) if known(summary, COSTS[cost], factor)]
    if not shown:
        return None
    with plain_style(STYLE):
        figure = Figure(figsize=(1.2 + 5.2 * len(shown), 4.6), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        drawn = [_marks(axes, summary, COSTS[cost], factor) for axes, factor in zip(panels, shown, strict=True)]
        panels[0].set_ylabel(quality_title(summary))
        figure.legend(handles=_legend(summary), loc="outside lower center", ncols=3, frameon=False)
        figure.draw_without_rendering()
        for axes, (labels, front) in zip(panels, drawn, strict=True):
            label_points(axes, labels, front)
    return figure


def known(summary: Summary, cost: Cost, factor: int) -> list[tuple[Row, Style]]:
    """Return row and style of each contender with a known cost at a length factor."""
    column = cost.column(summary, factor)
    every = zip(summary.rows, styles(summary), strict=True)
    return [(row, style) for row, style in every if math.isfinite(value(row, column))]


def _marks(axes: Axes, summary: Summary, cost: Cost, factor: int) -> tuple[list[Label], list[Point]]:
    """Draw a panel; return its labels and the corners of the line of the Pareto front."""
    column = cost.column(summary, factor)
    shown = known(summary, cost, factor)
    points = [(value(row, column), value(row, f"quality_{factor}x")) for row, _ in shown]
    _cost_axis(axes, cost, [x for x, _ in points])
    front = corners(points, summary.comparison.higher, axes.get_xlim()[1])
    axes.plot(*zip(*front, strict=True), zorder=1.5, **FRONT)
    labels = []
    for (row, style), (x, y) in zip(shown, points, strict=True):
        low, high = _ends(row, factor, y)
        axes.errorbar(
            x,
            y,
            [[y - low], [high - y]],
            fmt=style.marker,
            color=style.colour,
            capsize=3,
            elinewidth=1.4,
            markersize=8.5,
            markerfacecolor=style.face,
            markeredgewidth=1.6,
            zorder=3 + style.searched,
        )
        labels.append(Label(str(row["model"]), x, y, low, high, style.colour, style.searched))
    axes.set_xlabel(cost.title(summary))
    length = summary.comparison.length
    times = "" if factor == 1 else f"{factor}x "
    axes.set_title(f"at {times}the training length, {length * factor:,} tokens")
    axes.margins(y=0.18)
    return labels, front


def corners(points: Sequence[Point], higher: bool, end: float) -> list[Point]:
    """Return the corners of the step line of best quality up to each cost.

    Args:
        points: cost and quality of each contender.
        higher: whether higher quality is better.
        end: cost at the end of the line.
    """
    front = sorted(points[index] for index in pareto(points, higher))
    following = [x for x, _ in front[1:]] + [end]
    return [corner for (x, y), until in zip(front, following, strict=True) for corner in ((x, y), (until, y))]


def _ends(row: Row, factor: int, mean: float) -> tuple[float, float]:
    """Return the ends of an error bar; both are the mean if there is no interval."""
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


def _legend(summary: Summary) -> list[Line2D]:
    """Return the legend of filled markers, hollow markers and the line; labels name the contenders."""
    style: dict[str, Any] = {"color": MUTED, "marker": "o", "linestyle": "", "markersize": 8}
    marks = [
        Line2D([], [], label="found by a search", markerfacecolor=MUTED, **style),
        Line2D([], [], label="baseline", markerfacecolor="white", **style),
    ]
    kinds = [bool(summary.comparison.searched), bool(summary.comparison.baselines)]
    return [
        *(mark for mark, some in zip(marks, kinds, strict=True) if some),
        Line2D([], [], label="Pareto front", **FRONT),
    ]
