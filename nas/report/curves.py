"""The curves of a run: a panel for each logged quantity, and the probability of each layer's options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

from nas.models.operations import OPERATIONS
from nas.report.areas import MOST_SHARES, shares_over_steps
from nas.report.charts import COLOURS, Axis, Series, lines
from nas.report.embed import Chart, Charts
from nas.runs.history import ORIGINAL, PROBABILITY

SHARES = ("recall", "accuracy", "exact_match")
"""Figures of merit in [0, 1]."""

PLANTED = {"precision": ("ink", True), "recall": ("validation", False)}
"""Colour of the precision and the recall of planted chunks, and whether the line is dashed."""


class Line(NamedTuple):
    """A key of the history, with the label, the colour in the style sheet and the dash of its line."""

    key: str
    label: str
    colour: str = "ink"
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A chart of lines on the same axes; ``limits`` are the ends of the vertical axis, None for automatic ends."""

    name: str
    title: str
    lines: tuple[Line, ...]
    limits: tuple[float, float] | None = None

    def series(self, history: list[dict[str, float]]) -> list[tuple[Line, list[tuple[float, float]]]]:
        """Return the lines that have points in the history, with their points."""
        return [(line, points) for line in self.lines if (points := _points(history, line.key))]


def panels(quality: str, cost: str = "share") -> list[Panel]:
    """Return all panels of a report; ``cost`` is "share", or "cost" for another resource than softmax_share."""
    measured = Line(quality, "training", "muted"), Line(f"validation_{quality}", "validation", "validation")
    budgeted = Line(cost, cost, "softmax"), Line("target", "target", "ink", True)
    planted = tuple(Line(f"validation_planted_{name}", name, *look) for name, look in PLANTED.items())
    title = (
        "Softmax share and its target"
        if cost == "share"
        else "Cost and its target, relative to the most expensive architecture"
    )
    return [
        Panel("loss", "Loss", (Line("loss", "loss"),)),
        Panel("quality", sentence(quality), measured, (-0.02, 1.02) if quality in SHARES else None),
        Panel(cost, title, budgeted, (-0.02, 1.02)),
        Panel("planted", "Planted chunks kept by the layer that keeps most", planted, (-0.02, 1.02)),
        Panel("original", "Divergence from the original, nats per token", (Line(ORIGINAL, "KL"),)),
        Panel("multiplier", "Budget multiplier", (Line("multiplier", "multiplier"),)),
    ]


def panels_of(history: list[dict[str, float]], quality: str) -> list[Panel]:
    """Return the panels that have points in the history."""
    cost = "cost" if any("cost" in row for row in history) else "share"
    return [panel for panel in panels(quality, cost) if panel.series(history)]


def sentence(name: str) -> str:
    """Return a name in the form for the start of a sentence: "bits_per_byte" becomes "Bits per byte"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def draw_curves(history: list[dict[str, float]], quality: str) -> Charts:
    """Return the charts that have points in the history."""
    made = [_chart(panel, panel.series(history)) for panel in panels_of(history, quality)]
    if layers := probabilities(history):
        made.append(_probabilities(layers))
    return Charts(made)


class Curves(NamedTuple):
    """The curves of one of several runs: its name in legends, its history, and the name of its figure of merit."""

    name: str
    history: list[dict[str, float]]
    quality: str


def draw_together(runs: Sequence[Curves]) -> Charts:
    """Return one chart for each quantity that a run has logged, with a colour for each run."""
    drawn: dict[str, tuple[Panel, list[tuple[Line, list[tuple[float, float]]]]]] = {}
    for run, colour in zip(runs, COLOURS, strict=False):
        for panel in panels_of(run.history, run.quality):
            series = drawn.setdefault(panel.title, (panel, []))[1]
            for line, points in panel.series(run.history):
                dashed = line.dashed or line.colour == "muted"
                series.append((Line(line.key, f"{run.name} {line.label}", colour, dashed), points))
    made = [
        _chart(replace(panel, name=f"{panel.name}-{place}"), series)
        for place, (panel, series) in enumerate(drawn.values())
    ]
    most = MOST_SHARES // len(runs)
    made += [_probabilities(layers, run.name, most) for run in runs if (layers := probabilities(run.history))]
    return Charts(made)


def _chart(panel: Panel, series: list[tuple[Line, list[tuple[float, float]]]]) -> Chart:
    summary = _last(series)
    if not any(isfinite(value) for _, points in series for _, value in points):
        return Chart(panel.name, panel.title, f"{summary}; no finite value to draw", None)
    drawn = [Series(line.label, points, line.colour, line.dashed) for line, points in series]
    return Chart.of(panel.name, panel.title, summary, lines(drawn, Axis("", panel.limits)))


def probabilities(history: list[dict[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return the points (step, probability) by layer and by option; empty if no layer is searchable."""
    keys = {key for row in history for key in row if key.startswith(f"{PROBABILITY}/")}
    found: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for key in keys:
        _, layer, option = key.split("/", 2)
        found.setdefault(int(layer.removeprefix("layer_")), {})[option] = _points(history, key)
    return {f"layer {layer}": found[layer] for layer in sorted(found)}


HYBRIDS = tuple(f"hybrid{place}" for place in range(1, 6))
"""Colours of the style sheet for options with a router, and for operations without a colour."""


def option_colours(options: set[str]) -> dict[str, str]:
    """Return a colour for each option: first operations that keep every token, then routers, then other operations."""
    alone = {option: OPERATIONS[option] for option in OPERATIONS if option in options}
    others = sorted(options - alone.keys(), key=lambda option: (len(option), option))
    free = [colour for colour in HYBRIDS if colour not in {operation.look.colour for operation in alone.values()}]
    return (
        {name: operation.look.colour for name, operation in alone.items() if operation.keeps_all}
        | {option: free[place % len(free)] for place, option in enumerate(others)}
        | {name: operation.look.colour for name, operation in alone.items() if not operation.keeps_all}
    )


def _probabilities(
    layers: Mapping[str, Mapping[str, list[tuple[float, float]]]], run: str = "", most: int = MOST_SHARES
) -> Chart:
    """Return the chart of the probabilities with at most this number of points.

    ``run`` is the name of the run on a page of several runs.
    """
    colours = option_colours({option for options in layers.values() for option in options})
    likeliest = [f"{layer} {_likeliest(options)}" for layer, options in layers.items()]
    title = "Probability of each layer's options: the height of its area" + (run and f", {run}")
    summary = f"most likely at the end: {', '.join(likeliest)}"
    return Chart.of(
        PROBABILITY + (run and f"-{run}"), title, summary, shares_over_steps(layers, colours, most), wide=True
    )


def _likeliest(options: Mapping[str, list[tuple[float, float]]]) -> str:
    """Return the most probable option of a layer at the last step."""
    return max(options, key=lambda option: options[option][-1][1])


def _points(history: list[dict[str, float]], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in history if key in row]


def _last(series: list[tuple[Line, list[tuple[float, float]]]]) -> str:
    steps = [f" at step {points[-1][0]:,.0f}" for _, points in series]
    values = [f"{line.label} {points[-1][1]:.4g}" for line, points in series]
    if len(series) == 1:
        return f"{series[0][1][-1][1]:.4g}{steps[0]}"
    if len(set(steps)) == 1:
        return ", ".join(values) + steps[0]
    return ", ".join(value + step for value, step in zip(values, steps, strict=True))
