"""Quality against the length of the context, and by the position in it: a curve for each entrant."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from nas.comparisons.figures.entrant_style import Look, looks, quality_title
from nas.comparisons.figures.labels import Label, label_ends
from nas.comparisons.results import Entrant
from nas.comparisons.statistics import interval
from nas.comparisons.summary import Answer, value
from nas.report.style import MUTED, STYLE, plain_style


@dataclass(frozen=True)
class Curve:
    """Of one entrant: points by x, with the ends of their intervals."""

    name: str
    look: Look
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]


def length_curves(answer: Answer) -> list[Curve]:
    """Quality by the length of the context, of each entrant; none of one length."""
    length, factors = answer.comparison.length, answer.comparison.factors
    curves = []
    for row, look in zip(answer.rows, looks(answer), strict=True):
        y, low, high = ([value(row, f"{name}_{factor}x") for factor in factors] for name in ("quality", "low", "high"))
        curves.append(Curve(str(row["model"]), look, [length * factor for factor in factors], y, low, high))
    return curves if len(factors) > 1 else []


def position_curves(answer: Answer) -> list[Curve]:
    """Bits per byte of each segment of the longest sequences by the token it ends at, of the trainings that have it."""
    curves = []
    for entrant, look in zip(answer.comparison.entrants, looks(answer), strict=True):
        if values := _segments(entrant):
            low, high = zip(*map(interval, values.values()), strict=True)
            x, y = [float(end) for end in values], [fmean(bits) for bits in values.values()]
            curves.append(Curve(entrant.name, look, x, y, list(low), list(high)))
    return curves


def quality_against_length(answer: Answer) -> Figure | None:
    """A curve for each entrant with its intervals as a band; the training length is marked. None of one length."""
    length, factors, curves = answer.comparison.length, answer.comparison.factors, length_curves(answer)
    if not curves:
        return None
    with plain_style(STYLE):
        figure, axes = _one_panel()
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([length * factor for factor in factors]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}\n{x / length:g}x")
        axes.set_xlabel("context length in tokens, and times the training length")
        axes.set_ylabel(quality_title(answer))
        _draw_curves(axes, answer, curves)
    return figure


def bits_by_position(answer: Answer) -> Figure | None:
    """The `position_curves` of a comparison; None where none has any."""
    curves = position_curves(answer)
    if not curves:
        return None
    with plain_style(STYLE):
        figure, axes = _one_panel()
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("position in the sequence, in tokens")
        axes.set_ylabel("bits per byte (lower is better)")
        _draw_curves(axes, answer, curves)
    return figure


def _segments(entrant: Entrant) -> dict[int, list[float]]:
    """Of its longest sequences, by the token that a segment ends at, the bits per byte of each seed that are finite."""
    given = [run.by_position for run in entrant.runs if run.by_position]
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
