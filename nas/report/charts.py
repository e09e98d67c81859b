"""Charts of pages, as Vega-Lite: lines over steps, points with a Pareto front, bars.

Colours are names of variables of the style sheet ("softmax", "ink", "c1"), which has light and dark values for them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

HEIGHT = 220
"""Height of most charts in pixels."""
MOST = 200
"""Largest number of points of a line: a screen does not resolve more."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-left", "triangle-right")
COLOURS = tuple(f"c{number}" for number in range(1, 9))

BYTES = (
    " : ".join(
        f"datum.value >= {2**power} ? format(datum.value / {2**power}, '.3~g') + '{unit}'"
        for power, unit in ((30, " GiB"), (20, " MiB"), (10, " KiB"))
    )
    + " : datum.value + ' B'"
)
"""Vega expression for the label of a tick."""

Spec = dict[str, Any]
Points = Sequence[tuple[float, float]]


STEPS: Spec = {
    "field": "step",
    "type": "quantitative",
    "scale": {"zero": False, "nice": False},
    "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 6, "grid": False},
}
"""The channel of training steps."""


class Series(NamedTuple):
    """A line of a chart: name, points sorted by x, colour, and whether it is dashed."""

    name: str
    points: Points
    colour: str
    dashed: bool = False


class Mark(NamedTuple):
    """A point of a chart.

    Attributes:
        name: name in the tooltip.
        kind: entry of the legend, which sets colour and shape.
        x: x coordinate; ``y`` likewise.
        low: lower end of the interval of y, nan for none; ``high`` likewise the upper end.
        href: link that a click opens; None for none.
    """

    name: str
    kind: str
    x: float
    y: float
    low: float = math.nan
    high: float = math.nan
    href: str | None = None


class Band(NamedTuple):
    """A curve with an interval around each of its points: (x, y, low, high)."""

    name: str
    points: Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    title: title beside the axis.
    limits: both ends; None for the range of the data.
    ticks: values of the ticks; None for automatic ticks.
    logarithmic: base of a logarithmic scale; None for a linear scale.
    format: number format in the syntax of d3.
    labels: labels of the ticks, as a Vega expression; replaces the format.
    """

    title: str
    limits: tuple[float, float] | None = None
    ticks: Sequence[float] | None = None
    logarithmic: int | None = None
    format: str | None = None
    labels: str | None = None

    def encoded(self, field: str) -> Spec:
        """Return the Vega-Lite channel of a field on this axis."""
        scale: Spec = {"zero": False, "nice": self.limits is None}
        if self.limits is not None:
            scale["domain"] = list(self.limits)
        if self.logarithmic is not None:
            scale |= {"type": "log", "base": self.logarithmic}
        axis: Spec = {"title": self.title, "tickCount": 5}
        if self.ticks is not None:
            axis["values"] = list(self.ticks)
        if self.format is not None:
            axis["format"] = self.format
        if self.labels is not None:
            axis["labelExpr"] = self.labels
        return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}


def css(colour: str) -> str:
    """Return the CSS expression of a variable of the style sheet."""
    return f"var(--{colour})"


def digits(value: float) -> float:
    """Return a number rounded to five significant digits, which keeps files small."""
    return float(f"{value:.5g}")


def thinned(points: Points, most: int = MOST) -> list[tuple[float, float]]:
    """Return at most ``most`` points: the first, the last, and the smallest and largest value of each section."""
    finite = [point for point in points if math.isfinite(point[1])]
    if len(finite) <= most:
        return finite
    size = math.ceil(2 * len(finite) / (most - 2))
    kept = {finite[0], finite[-1]}
    for start in range(0, len(finite), size):
        section = finite[start : start + size]
        kept |= {min(section, key=lambda point: point[1]), max(section, key=lambda point: point[1])}
    return sorted(kept)


def lines(series: Sequence[Series], y: Axis) -> Spec:
    """Return a chart of lines over steps; a rule at the pointer shows the value of each line."""
    rows = [
        {"step": step, "value": digits(value), "line": one.name}
        for one in series
        for step, value in thinned(one.points)
    ]
    names = [one.name for one in series]
    colour = {
        "field": "line",
        "type": "nominal",
        "scale": {"domain": names, "range": [css(one.colour) for one in series]},
        "legend": {"symbolType": "stroke"} if len(names) > 1 else None,
    }
    dash = {
        "field": "line",
        "scale": {"domain": names, "range": [[5, 3] if one.dashed else [1, 0] for one in series]},
        "legend": colour["legend"],
    }
    few = max(len(one.points) for one in series) <= 40
    line: Spec = {"type": "line", "strokeWidth": 1.8, "point": {"size": 22} if few else False}
    return {
        "height": HEIGHT,
        "data": {"values": rows},
        "encoding": {"x": STEPS},
        "layer": [
            {"mark": line, "encoding": {"y": y.encoded("value"), "color": colour, "strokeDash": dash}},
            _follower("step", names, ".4~g", "step"),
        ],
    }


def _follower(x: str, names: Sequence[str], number_format: str, title: str) -> Spec:
    """Return the layer of a rule at the x nearest to the pointer, with the values of all lines in its tooltip."""
    tooltip: list[Spec] = [{"field": x, "type": "quantitative", "format": ",", "title": title}]
    tooltip += [
        {"field": field_of(name), "type": "quantitative", "title": name, "format": number_format} for name in names
    ]
    return {
        "transform": [{"pivot": "line", "value": "value", "groupby": [x]}],
        "mark": {"type": "rule", "color": css("muted"), "aria": False},
        "encoding": {
            "opacity": {"condition": {"param": "nearest", "empty": False, "value": 0.7}, "value": 0},
            "tooltip": tooltip,
        },
        "params": [
            {
                "name": "nearest",
                "select": {
                    "type": "point",
                    "fields": [x],
                    "nearest": True,
                    "on": "pointerover",
                    "clear": "pointerout",
                },
            }
        ],
    }


def field_of(name: str) -> str:
    """Return a name escaped as a field of Vega-Lite, which takes dots and brackets for paths into nested values."""
    return "".join(f"\\{character}" if character in ".[]\\" else character for character in name)


def bands(curves: Sequence[Band], x: Axis, y: Axis, mark_at: tuple[float, str] | None = None) -> Spec:
    """Return a chart of curves with their intervals; ``mark_at`` adds a vertical line at an x, with a label."""
    rows = [
        {"x": at, "value": digits(value), "low": low, "high": high, "line": curve.name}
        for curve in curves
        for at, value, low, high in curve.points
    ]
    names = [curve.name for curve in curves]
    colour, shape = kinds("line", names)
    few = max(len(curve.points) for curve in curves) <= 12
    layers: list[Spec] = []
    cut = {} if y.limits is None else {"clip": True}
    if any(math.isfinite(low) and math.isfinite(high) for curve in curves for _, _, low, high in curve.points):
        layers.append(_intervals({"type": "area", "opacity": 0.15} | cut, y, colour))
    line: Spec = {"type": "line", "strokeWidth": 2} | cut
    layers.append({"mark": line, "encoding": {"y": y.encoded("value"), "color": colour}})
    if few:
        point: Spec = {"type": "point", "filled": True, "size": 60}  # not cut, which would halve those at both ends
        inside = {} if y.limits is None else {"transform": [{"filter": f"inrange(datum.value, {list(y.limits)})"}]}
        layers.append(inside | {"mark": point, "encoding": {"y": y.encoded("value"), "color": colour, "shape": shape}})
    if mark_at is not None:
        layers += _marked(*mark_at)
    layers.append(_follower("x", names, ".4~f", x.title))
    return {"height": 300, "data": {"values": rows}, "encoding": {"x": x.encoded("x")}, "layer": layers}


def _intervals(mark: Spec, y: Axis, colour: Spec) -> Spec:
    """Return the layer of all intervals that have both ends."""
    return {
        "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
        "mark": mark | {"aria": False},
        "encoding": {"y": y.encoded("low"), "y2": {"field": "high"}, "color": colour},
    }


def _marked(at: float, words: str) -> list[Spec]:
    data = {"values": [{"x": at}]}
    rule = {"type": "rule", "color": css("muted"), "strokeDash": [2, 3], "aria": False}
    text = {"type": "text", "text": words, "align": "left", "dx": -2, "color": css("muted")}
    whole = {"y": {"value": 0}, "y2": {"value": "height"}}
    return [
        {"data": data, "mark": rule, "encoding": whole},
        {"data": data, "mark": text, "encoding": {"y": {"value": -8}}},
    ]


def kinds(field: str, names: Sequence[str]) -> tuple[Spec, Spec]:
    """Return the channels of colour and shape by kind, with one legend for both."""
    legend = {"orient": "bottom", "columns": 2, "symbolOpacity": 1, "symbolFillColor": None}
    colours = [css(COLOURS[place % len(COLOURS)]) for place in range(len(names))]
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(names))]
    both = {"field": field, "type": "nominal", "sort": None, "legend": legend if len(names) > 1 else None}
    return both | {"scale": {"domain": list(names), "range": colours}}, both | {
        "scale": {"domain": list(names), "range": shapes}
    }


def scatter(
    marks: Sequence[Mark], dashed: Sequence[Points], x: Axis, y: Axis, colours: Mapping[str, str] | None = None
) -> Spec:
    """Return a chart of points with intervals of y, and dashed lines; a click opens a point's link.

    Args:
        marks: points of the chart.
        dashed: corners of each line, sorted by x, for example of the Pareto front.
        x: horizontal axis.
        y: vertical axis.
        colours: colour by kind; None for the colours of `kinds`.
    """
    rows = [
        {
            "name": mark.name,
            "kind": mark.kind,
            "x": digits(mark.x),
            "y": digits(mark.y),
            "low": mark.low,
            "high": mark.high,
            **({"href": mark.href} if mark.href else {}),
        }
        for mark in marks
    ]
    names = list(colours or dict.fromkeys(mark.kind for mark in marks))
    colour, shape = kinds("kind", names)
    if colours is not None:
        colour["scale"]["range"] = [css(one) for one in colours.values()]
    tooltip: list[Spec] = [
        {"field": "name", "type": "nominal", "title": " "},
        {"field": "x", "type": "quantitative", "title": x.title, "format": ".4~g"},
        {"field": "y", "type": "quantitative", "title": y.title, "format": ".4~g"},
    ]
    hover = {"name": "hover", "select": {"type": "point", "on": "pointerover", "clear": "pointerout"}}
    layers: list[Spec] = []
    for points in (points for points in dashed if len(points) > 1):
        line = {"type": "line", "color": css("muted"), "strokeDash": [5, 3], "strokeWidth": 1.3, "aria": False}
        corners = [{"x": digits(a), "y": digits(b), "order": place} for place, (a, b) in enumerate(points)]
        layers.append(
            {
                "data": {"values": corners},
                "mark": line,
                "encoding": {
                    "x": x.encoded("x"),
                    "y": y.encoded("y"),
                    "order": {"field": "order", "type": "quantitative"},
                },
            }
        )
    if any(math.isfinite(mark.low) and math.isfinite(mark.high) for mark in marks):
        layers.append(_intervals({"type": "rule", "strokeWidth": 1.5}, y, colour))
    layers.append(
        {
            "mark": {"type": "point", "filled": True, "opacity": 1, "cursor": "pointer"},
            "params": [hover],
            "encoding": {
                "y": y.encoded("y"),
                "color": colour,
                "shape": shape,
                "tooltip": tooltip,
                "size": {"condition": {"param": "hover", "empty": False, "value": 190}, "value": 90},
                **({"href": {"field": "href", "type": "nominal"}} if any(mark.href for mark in marks) else {}),
            },
        },
    )
    return {"height": 300, "data": {"values": rows}, "encoding": {"x": x.encoded("x")}, "layer": layers}


def bars(shares: Mapping[str, float], colour: str = "c1") -> Spec:
    """Return a chart with a bar for each name, in the order of ``shares``, and its value at the end of the bar."""
    rows = [{"name": name, "value": digits(share)} for name, share in shares.items()]
    y = {"field": "name", "type": "nominal", "sort": None, "axis": {"title": None, "labelLimit": 210, "ticks": False}}
    x = {"field": "value", "type": "quantitative", "scale": {"domain": [0, 1.08]}, "axis": None}
    text = {"type": "text", "align": "left", "dx": 5, "color": css("ink")}
    return {
        "height": {"step": 26},
        "data": {"values": rows},
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": {"type": "bar", "color": css(colour), "height": 14}},
            {"mark": text, "encoding": {"text": {"field": "value", "type": "quantitative", "format": ".2f"}}},
        ],
    }
