"""Parallel coordinates, as Vega-Lite: a line for each item, through its values on several axes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nas.report.charts import Spec, css, digits

RAMP = tuple(f"q{number}" for number in range(1, 6))
"""Colours from worst to best."""


class Dimension(NamedTuple):
    """An axis of parallel coordinates.

    title: title below the axis.
    places: position of each line on the axis, in [0, 1].
    shown: text of each line's value.
    ticks: text of each tick by its position.
    """

    title: str
    places: Sequence[float]
    shown: Sequence[str]
    ticks: Mapping[float, str]


def parallel(
    names: Sequence[str], classes: Sequence[int], dimensions: Sequence[Dimension], words: Sequence[str]
) -> Spec:
    """Return a chart of parallel coordinates.

    Args:
        names: names of the lines.
        classes: class of each line, an index of `RAMP`.
        dimensions: axes from left to right.
        words: labels of the classes, in the order of `RAMP`.
    """
    titles = [one.title for one in dimensions]
    rows = [
        {
            "name": names[line],
            "class": words[classes[line]],
            "axis": one.title,
            "at": digits(one.places[line]),
            "shown": one.shown[line],
        }
        for line in sorted(range(len(names)), key=lambda line: classes[line])  # best lines on top
        for one in dimensions
    ]
    ticks = [{"axis": one.title, "at": at, "tick": tick} for one in dimensions for at, tick in one.ticks.items()]
    y = {"field": "at", "type": "quantitative", "axis": None, "scale": {"domain": [0, 1]}}
    used = [place for place in range(len(RAMP)) if place in set(classes)]
    colour = {
        "field": "class",
        "type": "nominal",
        "scale": {"domain": [words[place] for place in used], "range": [css(RAMP[place]) for place in used]},
        "legend": {"symbolType": "stroke", "symbolStrokeWidth": 3, "columns": 3},
    }
    hover = {
        "name": "hover",
        "select": {"type": "point", "fields": ["name"], "on": "pointerover", "clear": "pointerout"},
    }
    dim = {"condition": {"param": "hover", "empty": True, "value": 0.9}, "value": 0.12}
    tooltip = [
        {"field": "name", "title": " "},
        {"field": "axis", "title": "option"},
        {"field": "shown", "title": "value"},
    ]
    return {
        "height": 320,
        "data": {"values": rows},
        "encoding": {"x": _across(titles)},
        "layer": [
            {
                "mark": {"type": "line", "strokeWidth": 2, "strokeJoin": "round"},
                "encoding": {"y": y, "detail": {"field": "name"}, "color": colour, "opacity": dim},
            },
            {
                "data": {"values": [{"axis": title} for title in titles]},
                "mark": {"type": "rule", "color": css("muted"), "aria": False},
                "encoding": {"y": {"value": 0}, "y2": {"value": "height"}},
            },
            {
                "params": [hover],
                "mark": {"type": "circle", "size": 90},
                "encoding": {"y": y, "color": colour, "opacity": dim, "tooltip": tooltip},
            },
            *(
                {
                    "data": {"values": ticks},
                    "mark": {"type": "text", "align": "left", "dx": 8, "aria": False} | look,
                    "encoding": {"y": y, "text": {"field": "tick"}},
                }
                for look in ({"stroke": css("paper"), "strokeWidth": 4}, {"color": css("ink")})
            ),
        ],
    }


def _across(titles: Sequence[str]) -> Spec:
    """Return the channel of the axes side by side, with their titles below."""
    return {
        "field": "axis",
        "type": "nominal",
        "sort": titles,
        "scale": {"type": "point", "padding": 0.35},
        "axis": {
            "title": None,
            "labelAngle": 0,
            "domain": False,
            "ticks": False,
            "labelColor": css("ink"),
            "labelLimit": 130,
            "labelPadding": 14,
            "labelExpr": "split(datum.label, '.')",  # trainer.weight_decay on two lines
        },
    }
