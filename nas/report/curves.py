"""The curves of a run: one panel for each thing that was logged against steps, and what each layer was likely to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from nas.models.operations import OPERATIONS
from nas.report.charts import Axis, Series, lines, shares_over_steps
from nas.report.embed import Chart, Charts
from nas.runs.history import PROBABILITY

SHARES = ("recall", "accuracy", "exact_match")
"""Figures of merit from 0 to 1."""

PLANTED = {"precision": ("ink", True), "recall": ("validation", False)}
"""Colour of how well planted chunks are found, and whether it is dashed."""


class Line(NamedTuple):
    """One key of the history, and how it is drawn: a colour by the page's name for it."""

    key: str
    label: str
    colour: str = "ink"
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture: lines that share an axis; ``limits`` where the axis has natural ends."""

    name: str
    title: str
    lines: tuple[Line, ...]
    limits: tuple[float, float] | None = None

    def series(self, history: list[dict[str, float]]) -> list[tuple[Line, list[tuple[float, float]]]]:
        """The lines for which the history has anything, with their points."""
        return [(line, points) for line in self.lines if (points := _points(history, line.key))]


def panels(quality: str, cost: str = "share") -> list[Panel]:
    """Every panel that a report can have; ``cost`` is "share" or, of another resource, "cost"."""
    measured = Line(quality, "training", "muted"), Line(f"validation_{quality}", "validation", "validation")
    budgeted = Line(cost, cost, "softmax"), Line("target", "target", "ink", True)
    planted = tuple(Line(f"validation_planted_{name}", name, *look) for name, look in PLANTED.items())
    title = "Softmax share and its target" if cost == "share" else "Cost and its target, as parts of the largest cost"
    return [
        Panel("loss", "Loss", (Line("loss", "loss"),)),
        Panel("quality", sentence(quality), measured, (-0.02, 1.02) if quality in SHARES else None),
        Panel(cost, title, budgeted, (-0.02, 1.02)),
        Panel("planted", "Planted chunks found by the layer that finds most", planted, (-0.02, 1.02)),
        Panel("multiplier", "Budget multiplier", (Line("multiplier", "multiplier"),)),
    ]


def panels_of(history: list[dict[str, float]], quality: str) -> list[Panel]:
    """The panels for which the history has anything."""
    cost = "cost" if any("cost" in row for row in history) else "share"
    return [panel for panel in panels(quality, cost) if panel.series(history)]


def sentence(name: str) -> str:
    """A name as it stands at the start of a sentence: "bits_per_byte" becomes "Bits per byte"."""
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def draw_curves(history: list[dict[str, float]], quality: str) -> Charts:
    """The charts for which the history has anything."""
    made = [_chart(panel, history) for panel in panels_of(history, quality)]
    if layers := probabilities(history):
        made.append(_probabilities(layers))
    return Charts(made)


def _chart(panel: Panel, history: list[dict[str, float]]) -> Chart:
    series = panel.series(history)
    told = _last(series)
    if not any(isfinite(value) for _, points in series for _, value in points):
        return Chart(panel.name, panel.title, f"{told}; no finite value to draw", None)
    drawn = [Series(line.label, points, line.colour, line.dashed) for line, points in series]
    return Chart.of(panel.name, panel.title, told, lines(drawn, Axis("", panel.limits)))


def probabilities(history: list[dict[str, float]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """By layer and option the probability over steps; empty where layers choose nothing."""
    keys = {key for row in history for key in row if key.startswith(f"{PROBABILITY}/")}
    found: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for key in keys:
        _, layer, option = key.split("/", 2)
        found.setdefault(int(layer.removeprefix("layer_")), {})[option] = _points(history, key)
    return {f"layer {layer}": found[layer] for layer in sorted(found)}


HYBRIDS = tuple(f"hybrid{place}" for place in range(1, 6))
"""Colours of the style sheet for options with a router, and for operations that have none of their own."""


def option_colours(options: set[str]) -> dict[str, str]:
    """A colour for each option: those that keep all first, then those with a router, other operations last."""
    alone = {option: OPERATIONS[option] for option in OPERATIONS if option in options}
    others = sorted(options - alone.keys(), key=lambda option: (len(option), option))
    free = [colour for colour in HYBRIDS if colour not in {operation.look.colour for operation in alone.values()}]
    return (
        {name: operation.look.colour for name, operation in alone.items() if operation.keeps_all}
        | {option: free[place % len(free)] for place, option in enumerate(others)}
        | {name: operation.look.colour for name, operation in alone.items() if not operation.keeps_all}
    )


def _probabilities(layers: Mapping[str, Mapping[str, list[tuple[float, float]]]]) -> Chart:
    colours = option_colours({option for options in layers.values() for option in options})
    told = [f"{layer} {_likeliest(options)}" for layer, options in layers.items()]
    title = "Architecture probabilities of each layer: the taller, the likelier"
    words = f"most likely at the end: {', '.join(told)}"
    return Chart.of(PROBABILITY, title, words, shares_over_steps(layers, colours), wide=True)


def _likeliest(options: Mapping[str, list[tuple[float, float]]]) -> str:
    """Of a layer, at the end."""
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
