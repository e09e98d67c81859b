"""Quality by context length and by position in the sequence: a curve for each contender."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from nas.comparisons.figures.contender_style import Style, quality_title, styles
from nas.comparisons.figures.labels import Label, label_ends
from nas.comparisons.results import TrainedContender
from nas.comparisons.statistics import interval
from nas.comparisons.summary import Summary, value
from nas.report.style import STYLE, mark_training_length, plain_style


@dataclass(frozen=True)
class Curve:
    """The curve of one contender: points by ``x``, with the ends of their intervals."""

    name: str
    style: Style
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


def length_curves(summary: Summary) -> list[Curve]:
    """Return the curves of quality by context length; empty if only one length was measured."""
    length, factors = summary.comparison.length, summary.comparison.factors
    curves = []
    for row, style in zip(summary.rows, styles(summary), strict=True):
        y, low, high = ([value(row, f"{name}_{factor}x") for factor in factors] for name in ("quality", "low", "high"))
        curves.append(Curve(str(row["model"]), style, [length * factor for factor in factors], y, low, high))
    return curves if len(factors) > 1 else []


def position_curves(summary: Summary) -> list[Curve]:
    """Return the curves of bits by position in the longest sequences, of contenders that have them.

    A point stands for a segment, at its last token.
    """
    curves = []
    for contender, style in zip(summary.comparison.contenders, styles(summary), strict=True):
        if values := _segments(contender):
            low, high = zip(*map(interval, values.values()), strict=True)
            x, y = [float(end) for end in values], [fmean(bits) for bits in values.values()]
            curves.append(Curve(contender.name, style, x, y, list(low), list(high)))
    return curves


def quality_against_length(summary: Summary) -> Figure | None:
    """Draw quality by context length, with intervals as bands; return None if only one length was measured."""
    length, factors, curves = summary.comparison.length, summary.comparison.factors, length_curves(summary)
    if not curves:
        return None
    with plain_style(STYLE):
        figure, axes = _one_panel()
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([length * factor for factor in factors]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}\n{x / length:g}x")
        axes.set_xlabel("context length in tokens, and times the training length")
        axes.set_ylabel(quality_title(summary))
        _draw_curves(axes, summary, curves)
    return figure


def bits_by_position(summary: Summary) -> Figure | None:
    """Draw bits per byte or token by position, with intervals as bands; return None if no contender has them."""
    curves = position_curves(summary)
    if not curves:
        return None
    with plain_style(STYLE):
        figure, axes = _one_panel()
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("position in the sequence, in tokens")
        axes.set_ylabel(quality_title(summary))
        _draw_curves(axes, summary, curves)
    return figure


def _segments(contender: TrainedContender) -> dict[int, list[float]]:
    """Return the finite bits over seeds, by the last token of each segment of the longest sequences."""
    given = [run.by_position for run in contender.runs if run.by_position]
    longest = max((factor for segments in given for factor in segments), default=0)
    values: dict[int, list[float]] = {}
    for segments in given:
        for end, bits in segments.get(longest, []):
            if math.isfinite(bits):
                values.setdefault(end, []).append(bits)
    return dict(sorted(values.items()))


def _one_panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    return figure, figure.add_subplot()


def _draw_curves(axes: Axes, summary: Summary, curves: Sequence[Curve]) -> None:
    """Draw curves with bands and labels, and mark the training length; the limits of the axes are final afterwards."""
    few = max(len(curve.x) for curve in curves) <= 10
    for curve in curves:
        style = curve.style
        axes.fill_between(curve.x, curve.low, curve.high, color=style.colour, alpha=0.15, linewidth=0)
        axes.plot(
            curve.x,
            curve.y,
            color=style.colour,
            linewidth=style.width,
            marker=style.marker if few else "",
            markersize=7,
            markerfacecolor=style.face,
            markeredgewidth=1.5,
            zorder=3 + style.searched,
        )
    mark_training_length(axes, summary.comparison.length)
    axes.set_xlim(axes.get_xlim())
    axes.set_ylim(axes.get_ylim())
    ends = [
        Label(curve.name, curve.x[-1], curve.y[-1], curve.y[-1], curve.y[-1], curve.style.colour, curve.style.searched)
        for curve in curves
    ]
    label_ends(axes, ends)
