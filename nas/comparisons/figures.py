"""The figures of a comparison, each as PNG and SVG: quality against cost, against length, and by position."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from nas.comparisons.answer import Answer, Row, value
from nas.comparisons.labels import Label, label_ends, label_points
from nas.comparisons.results import Entrant
from nas.comparisons.statistics import interval, pareto
from nas.comparisons.units import context, size
from nas.report import svg
from nas.report.image import BLUE, ORANGE
from nas.run import replacing

INK, MUTED, RULE = "#222222", "#555555", "#dddddd"
COLOURS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#222222", ORANGE, "#56B4E9", "#777777")
"""Told apart by colour-blind readers (Okabe and Ito 2008); grey in place of their yellow, which is faint on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
FRONT: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (4, 2))}
"""The Pareto front's line."""
Point: TypeAlias = tuple[float, float]
STYLE: dict[Any, Any] = svg.STYLE | {
    "svg.fonttype": "path",  # names stay clear of each other whatever fonts a reader has
    "svg.hashsalt": "comparison",
    "savefig.dpi": 200,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "grid.color": RULE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.labelcolor": INK,
}


class Look(NamedTuple):
    """How an entrant is drawn, in every figure the same."""

    colour: str
    marker: str
    searched: bool

    @property
    def face(self) -> str:
        """What was searched is filled, baselines are hollow."""
        return self.colour if self.searched else "white"

    @property
    def width(self) -> float:
        return 2.4 if self.searched else 1.5


@dataclass(frozen=True)
class Curve:
    """Of one entrant: points by x, with the ends of their intervals."""

    name: str
    look: Look
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


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


def draw(answer: Answer, folder: Path) -> list[Path]:
    """Write every figure that the comparison has something for; returns the paths, a PNG and an SVG of each."""
    figures = {f"quality_by_{cost}": quality_against_cost(answer, cost) for cost in COSTS}
    if len(answer.comparison.factors) > 1:
        figures["quality_by_length"] = quality_against_length(answer)
    if (by_position := bits_by_position(answer)) is not None:
        figures["bits_by_position"] = by_position
    paths = []
    for name, figure in figures.items():
        for ending, metadata in (("png", {}), ("svg", svg.NO_METADATA)):
            path = folder / f"{name}.{ending}"
            with replacing(path) as temporary, svg.plain_style(STYLE):
                figure.savefig(temporary, format=ending, metadata=metadata)
            paths.append(path)
    return paths


def quality_against_cost(answer: Answer, cost: str) -> Figure:
    """A mark for each entrant with the interval of its quality, and the Pareto front as a line.

    One panel at the training length, and one at the longest that was measured.

    Args:
        answer: of the comparison.
        cost: one of `COSTS`.
    """
    factors = answer.comparison.factors
    shown = sorted({factors[0], factors[-1]})
    with svg.plain_style(STYLE):
        figure = Figure(figsize=(1.2 + 5.2 * len(shown), 4.6), layout="constrained")
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        drawn = [_marks(axes, answer, COSTS[cost], factor) for axes, factor in zip(panels, shown, strict=True)]
        panels[0].set_ylabel(_quality(answer))
        figure.legend(handles=_legend(answer), loc="outside lower center", ncols=3, frameon=False)
        figure.draw_without_rendering()
        for axes, (labels, front) in zip(panels, drawn, strict=True):
            label_points(axes, labels, front)
    return figure


def quality_against_length(answer: Answer) -> Figure:
    """A curve for each entrant with its intervals as a band; the training length is marked."""
    length, factors = answer.comparison.length, answer.comparison.factors
    curves = []
    for row, look in zip(answer.rows, _looks(answer), strict=True):
        y, low, high = ([value(row, f"{name}_{factor}x") for factor in factors] for name in ("quality", "low", "high"))
        curves.append(Curve(str(row["model"]), look, [length * factor for factor in factors], y, low, high))
    with svg.plain_style(STYLE):
        figure, axes = _one_panel()
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([length * factor for factor in factors]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}\n{x / length:g}x")
        axes.set_xlabel("context length in tokens, and times the training length")
        axes.set_ylabel(_quality(answer))
        _draw_curves(axes, answer, curves)
    return figure


def bits_by_position(answer: Answer) -> Figure | None:
    """Bits per byte of each segment of the longest sequences by the token it ends at; None where nobody has any."""
    comparison = answer.comparison
    looks = zip(comparison.entrants, _looks(answer), strict=True)
    longest = [(entrant, look, factor) for entrant, look in looks if (factor := _longest(entrant)) is not None]
    if not longest:
        return None
    curves = []
    for entrant, look, factor in longest:
        segments = [dict(run.by_position[factor]) for run in entrant.runs if run.by_position is not None]
        ends = sorted(set.intersection(*map(set, segments)))
        values = [[bits for of in segments if math.isfinite(bits := of[end])] for end in ends]
        known = [(end, bits) for end, bits in zip(ends, values, strict=True) if bits]
        low, high = zip(*(interval(bits) for _, bits in known), strict=True)
        x, y = [float(end) for end, _ in known], [fmean(bits) for _, bits in known]
        curves.append(Curve(entrant.name, look, x, y, list(low), list(high)))
    with svg.plain_style(STYLE):
        figure, axes = _one_panel()
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("position in the sequence, in tokens")
        axes.set_ylabel("bits per byte (lower is better)")
        _draw_curves(axes, answer, curves)
    return figure


def _longest(entrant: Entrant) -> int | None:
    """The largest length factor that all of its runs have segments of."""
    each = [set(run.by_position or {}) for run in entrant.runs]
    return max(set.intersection(*each), default=None)


def _one_panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    return figure, figure.add_subplot()


def _looks(answer: Answer) -> list[Look]:
    return [
        Look(COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)], bool(row["searched"]))
        for place, row in enumerate(answer.rows)
    ]


def _quality(answer: Answer) -> str:
    return f"{answer.measure} ({'higher' if answer.comparison.higher else 'lower'} is better)"


def _marks(axes: Axes, answer: Answer, cost: Cost, factor: int) -> tuple[list[Label], list[Point]]:
    """Draw a panel of quality against cost; returns the names to put in it and the corners of the front's line.

    Who has no such cost is left out.
    """
    column = cost.column(answer, factor)
    shown = [
        (row, look) for row, look in zip(answer.rows, _looks(answer), strict=True) if math.isfinite(value(row, column))
    ]
    points = [(value(row, column), value(row, f"quality_{factor}x")) for row, _ in shown]
    _cost_axis(axes, cost, [x for x, _ in points])
    front = _corners(points, answer.comparison.higher, axes.get_xlim()[1])
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
    axes.margins(y=0.15)
    return labels, front


def _corners(points: Sequence[Point], higher: bool, end: float) -> list[Point]:
    """Of the line that tells the best quality up to each cost, from the cheapest entrant to the end of the axis."""
    front = sorted(points[index] for index in pareto(points, higher))
    following = [x for x, _ in front[1:]] + [end]
    return [corner for (x, y), until in zip(front, following, strict=True) for corner in ((x, y), (until, y))]


def _ends(row: Row, factor: int, mean: float) -> tuple[float, float]:
    """Of the bar through a mark, which has no length where there is no interval."""
    low, high = value(row, f"low_{factor}x"), value(row, f"high_{factor}x")
    return (mean, mean) if math.isnan(low) else (min(low, mean), max(high, mean))


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
    style: Mapping[str, Any] = {"color": MUTED, "marker": "o", "linestyle": "", "markersize": 8}
    marks = [
        Line2D([], [], label="found by a search", markerfacecolor=MUTED, **style),
        Line2D([], [], label="baseline", markerfacecolor="white", **style),
    ]
    kinds = [bool(answer.comparison.searched), bool(answer.comparison.baselines)]
    return [
        *(mark for mark, some in zip(marks, kinds, strict=True) if some),
        Line2D([], [], label="Pareto front", **FRONT),
    ]


def _draw_curves(axes: Axes, answer: Answer, curves: Sequence[Curve]) -> None:
    """Curves with their bands and names, the training length marked; limits and scale are final after it."""
    few = max(len(curve.x) for curve in curves) <= 10
    for curve in curves:
        look = curve.look
        axes.fill_between(curve.x, curve.low, curve.high, color=look.colour, alpha=0.15, linewidth=0)
        axes.plot(
            curve.x,
            curve.y,
            color=look.colour,
            linewidth=look.width,
            marker=look.marker if few else "",
            markersize=7,
            markerfacecolor=look.face,
            markeredgewidth=1.5,
            zorder=3 + look.searched,
        )
    length = answer.comparison.length
    axes.axvline(length, color=MUTED, linewidth=1, linestyle=":", zorder=1.5)
    axes.annotate(
        "training length",
        xy=(length, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        color=MUTED,
        fontsize=9,
    )
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    ends = [
        Label(curve.name, curve.x[-1], curve.y[-1], curve.y[-1], curve.y[-1], curve.look.colour, curve.look.searched)
        for curve in curves
    ]
    label_ends(axes, ends)
