"""The curves of a run: one panel for each thing that was logged against steps."""

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nas.report import svg

SIZE = (4.6, 2.7)
"""Inches at 72 units each: what a column of the page is wide, so that text keeps its size."""

SHARES = ("recall", "accuracy", "exact_match")
"""Figures of merit from 0 to 1."""

PLANTED = {"precision": (svg.INK, "--"), "recall": (svg.VALIDATION, "-")}
"""Colour and style of how well planted chunks are found."""

FEW_POINTS = 40
"""A line with at most so many points shows each of them."""


class Line(NamedTuple):
    """One key of the history, and how it is drawn."""

    key: str
    label: str
    colour: str = svg.INK
    style: str = "-"


@dataclass(frozen=True)
class Panel:
    """One picture: lines that share an axis; ``limits`` where the axis has natural ends."""

    name: str
    title: str
    lines: tuple[Line, ...]
    limits: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True)
class Curve:
    """A drawn panel: its title, where each line ended in words, and the <svg>, empty where nothing can be drawn."""

    title: str
    last: str
    drawing: str


def panels(quality: str, cost: str = "share") -> list[Panel]:
    """Every panel that a report can have; ``cost`` is "share" or, of another resource, "cost"."""
    limits = (-0.02, 1.02) if quality in SHARES else (None, None)
    measured = Line(quality, "training", svg.MUTED), Line(f"validation_{quality}", "validation", svg.VALIDATION)
    budgeted = Line(cost, cost, svg.SOFTMAX), Line("target", "target", svg.INK, "--")
    planted = tuple(Line(f"validation_planted_{name}", name, *look) for name, look in PLANTED.items())
    title = "Softmax share and its target" if cost == "share" else "Cost and its target, as parts of the largest cost"
    return [
        Panel("loss", "Loss", (Line("loss", "loss"),)),
        Panel("quality", sentence(quality), measured, limits),
        Panel(cost, title, budgeted, (0, None)),
        Panel("planted", "Planted chunks found by the layer that finds most", planted, (-0.02, 1.02)),
        Panel("multiplier", "Budget multiplier", (Line("multiplier", "multiplier"),)),
    ]


def sentence(name: str) -> str:
    """A name as it stands at the start of a sentence: "bits_per_byte" becomes "Bits per byte"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def draw_curves(history: list[dict[str, float]], quality: str) -> list[Curve]:
    """The panels for which the history has anything."""
    cost = "cost" if any("cost" in row for row in history) else "share"
    return [curve for panel in panels(quality, cost) if (curve := _draw(panel, history))]


def _draw(panel: Panel, history: list[dict[str, float]]) -> Curve | None:
    series = [(line, points) for line in panel.lines if (points := _points(history, line.key))]
    if not series:
        return None
    if not any(isfinite(value) for _, points in series for _, value in points):
        return Curve(panel.title, f"{_last(series)}; no finite value to draw", "")
    with svg.plain_style(svg.STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        for line, points in series:
            _draw_line(axes, line, points)
        axes.set_xlabel("step")
        axes.set_ylim(*panel.limits)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if len(series) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, handlelength=2.5)
        drawn = svg.inline_svg(figure, panel.name)
    return Curve(panel.title, _last(series), drawn)


def _points(history: list[dict[str, float]], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in history if key in row]


def _draw_line(axes: Axes, line: Line, points: list[tuple[float, float]]) -> None:
    steps, values = zip(*points, strict=True)
    marker = "o" if len(points) <= FEW_POINTS and line.style == "-" else ""
    axes.plot(steps, values, color=line.colour, linestyle=line.style, label=line.label, marker=marker, markersize=3.5)


def _last(series: list[tuple[Line, list[tuple[float, float]]]]) -> str:
    steps = [f" at step {points[-1][0]:,.0f}" for _, points in series]
    values = [f"{line.label} {points[-1][1]:.4g}" for line, points in series]
    if len(series) == 1:
        return f"{series[0][1][-1][1]:.4g}{steps[0]}"
    if len(set(steps)) == 1:
        return ", ".join(values) + steps[0]
    return ", ".join(value + step for value, step in zip(values, steps, strict=True))
