"""The chart of shares that add up to 1, over steps: a row for each layer, with stacked areas of its options."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nas.report.charts import STEPS, Points, Spec, css, digits, field_of

MOST_SHARES = 3000
"""Largest number of points of all areas in a chart."""
MOST_STEPS = 60
"""Largest number of steps of a layer."""


def shares_over_steps(
    by_layer: Mapping[str, Mapping[str, Points]], colours: Mapping[str, str], points: int = MOST_SHARES
) -> Spec:
    """Return a chart of shares that add up to 1, over steps: a row for each layer, with stacked areas of its options.

    Args:
        by_layer: points (step, share) by name of the layer, first to last, and by option.
        colours: colour by option, in the order of the stack from below.
        points: largest number of points of all areas.
    """
    layers = list(by_layer)
    return {
        "height": 44 * len(layers),
        "data": {"values": _rows(by_layer, list(colours), points)},
        "layer": [_areas(layers, colours), _pointed(layers, list(colours))],
    }


def _rows(by_layer: Mapping[str, Mapping[str, Points]], order: Sequence[str], points: int) -> list[dict[str, Any]]:
    """Return a row for each step, layer and option, with both ends of its area on the vertical axis."""
    rows = []
    most = max(2, min(points // sum(map(len, by_layer.values())), MOST_STEPS))
    for place, (layer, options) in enumerate(by_layer.items()):
        steps = [step for step, _ in next(iter(options.values()))]
        for index in sorted({*range(0, len(steps), math.ceil(len(steps) / most)), len(steps) - 1}):
            below = 0.0
            for option in [option for option in order if option in options]:
                share = options[option][index][1]
                low, high = (digits(place + 0.92 - 0.84 * edge) for edge in (below, below + share))
                row = {"step": steps[index], "layer": layer, "option": option, "value": digits(share)}
                rows.append(row | {"low": low, "high": high})
                below += share
    return rows


def _vertical(layers: Sequence[str]) -> Spec:
    """Return the vertical channel, in which each layer has a height of 1."""
    axis = {
        "title": None,
        "values": [place + 0.5 for place in range(len(layers))],
        "labelExpr": f"{json.dumps(layers)}[datum.value - 0.5]",
        "grid": False,
        "domain": False,
        "ticks": False,
    }
    scale = {"domain": [0, len(layers)], "reverse": True, "nice": False}
    return {"type": "quantitative", "scale": scale, "axis": axis}


def _areas(layers: Sequence[str], colours: Mapping[str, str]) -> Spec:
    """Return the layer of stacked areas."""
    colour = {
        "field": "option",
        "type": "nominal",
        "scale": {"domain": list(colours), "range": [css(one) for one in colours.values()]},
        "legend": {"symbolType": "square", "columns": 3},
    }
    return {
        "mark": {"type": "area", "interpolate": "linear"},
        "encoding": {
            "x": STEPS,
            "y": _vertical(layers) | {"field": "low"},
            "y2": {"field": "high"},
            "color": colour,
            "detail": {"field": "layer"},
        },
    }


def _pointed(layers: Sequence[str], options: Sequence[str]) -> Spec:
    """Return the layer of a rule at the pointer, with the shares of all options of its layer in the tooltip."""
    tooltip: list[Spec] = [{"field": "layer"}, {"field": "step", "format": ",d"}]
    tooltip += [
        {"field": field_of(option), "type": "quantitative", "title": option, "format": ".2f"} for option in options
    ]
    nearest = {
        "name": "nearest",
        "select": {"type": "point", "fields": ["step", "layer"], "on": "pointerover", "clear": "pointerout"},
    }
    return {
        "transform": [
            {"calculate": f"indexof({json.dumps(layers)}, datum.layer)", "as": "place"},
            {"pivot": "option", "value": "value", "groupby": ["step", "layer", "place"]},
            {"calculate": "datum.place + 0.08", "as": "top"},
            {"calculate": "datum.place + 0.92", "as": "bottom"},
        ],
        "params": [nearest],
        "mark": {"type": "rule", "strokeWidth": 7, "color": css("ink"), "aria": False},
        "encoding": {
            "x": STEPS,
            "y": _vertical(layers) | {"field": "top"},
            "y2": {"field": "bottom"},
            "tooltip": tooltip,
            "opacity": {"condition": {"param": "nearest", "empty": False, "value": 0.35}, "value": 0},
        },
    }
