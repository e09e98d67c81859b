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

FAR = 2.0
"""Curves that rise this many times as far as all others would set the scale of the axis: they are cut off."""
CUT = 0.25
"""Largest fraction of the curves that is cut off."""
MARGIN = 0.05
"""Space above and below the curves of bits, in heights of their range."""


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
        axes.set_xscale("log", base=2)
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
    bottom, top = limits(summary, curves) or axes.get_ylim()
    axes.set_ylim(bottom, top)
    mark_training_length(axes, summary.comparison.length)
    axes.set_xlim(axes.get_xlim())
    label_ends(axes, [_label(curve, top) for curve in curves])


def _label(curve: Curve, top: float) -> Label:
    """Return the label of a curve; one that ends above the axis has its last value too."""
    last = curve.y[-1]
    text, end = (f"{curve.name} ({last:.2f})", top) if last > top else (curve.name, last)
    return Label(text, curve.x[-1], end, end, end, curve.style.colour, curve.style.searched)


def limits(summary: Summary, curves: Sequence[Curve]) -> tuple[float, float] | None:
    """Return the ends of an axis of bits: those of the intervals from the training length on, of curves shown whole.

    Another measure has none, since its values lie between 0 and 1. A single seed has no interval, and a model that
    diverged no finite bits.
    """
    if summary.comparison.higher:
        return None
    first = min(summary.comparison.length, *(curve.x[-1] for curve in curves))
    points = [
        [
            (y, low, high)
            for x, y, low, high in zip(one.x, one.y, one.low, one.high, strict=True)
            if x >= first and math.isfinite(y)
        ]
        for one in curves
    ]
    if not (shown := [point for own in points for point in own]):
        return None
    highest = highest_whole([[y for y, _, _ in own] for own in points if own])
    bottom = min(_finite(low, y) for y, low, _ in shown)
    top = max(_finite(high, y) for y, _, high in shown if y <= highest)
    margin = MARGIN * ((top - bottom) or 1.0)
    return bottom - margin, top + margin


def _finite(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise


def highest_whole(curves: Sequence[Sequence[float]]) -> float:
    """Return the highest value of the curves that an axis shows whole.

    >>> highest_whole([[1.1, 1.2], [1.1, 1.3], [1.0, 1.4], [1.2, 3.1]])
    1.4
    >>> highest_whole([[1.1, 1.2], [1.1, 1.3], [1.0, 1.4], [1.2, 1.7]])
    1.7
    """
    low, peaks = min(map(min, curves)), sorted(map(max, curves))
    for place in range(len(peaks) - int(CUT * len(peaks)), len(peaks)):
        if peaks[place] - low > FAR * (peaks[place - 1] - low):
            return peaks[place - 1]
    return peaks[-1]
