"""Charts of a page as PNG and SVG files for papers, drawn by Vega in the light colours of the style sheet."""

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import vl_convert

from nas.files.saving import replacing
from nas.report.embed import Chart

WIDTH, WIDE = 560, 960
"""Width of a chart in units, and of a chart that takes the whole width of a page."""
SCALE = 2
"""Pixels of a PNG per unit."""
SHEETS = ("page.css", "charts.css")


def save_chart(chart: Chart, folder: Path) -> list[Path]:
    """Write a chart as PNG and as SVG under its name; return the paths, empty if the chart has nothing to draw."""
    if chart.spec is None:
        return []
    spec = _drawn_alone(chart)
    svg, png = folder / f"{chart.name}.svg", folder / f"{chart.name}.png"
    with replacing(svg) as part:
        part.write_text(vl_convert.vega_to_svg(spec), encoding="utf-8")
    with replacing(png) as part:
        part.write_bytes(vl_convert.vega_to_png(spec, scale=SCALE))
    return [png, svg]


def _drawn_alone(chart: Chart) -> dict[str, Any]:
    """Return the chart with fixed colours, a fixed width and a white background, as a file without a page needs."""
    text = re.sub(r"var\((--[\w-]+)\)", lambda match: colours()[match[1]], json.dumps(chart.spec))
    spec: dict[str, Any] = json.loads(text.replace("system-ui, sans-serif", "sans-serif"))
    width = max(WIDE if chart.wide else WIDTH, chart.least)
    kept = [signal for signal in spec.get("signals", []) if signal["name"] != "width"]
    spec.pop("autosize", None)
    return spec | {"signals": [*kept, {"name": "width", "value": width}], "background": "white", "padding": 8}


@cache
def colours() -> dict[str, str]:
    """Return the light colours of the style sheets by the names of their variables."""
    found: dict[str, str] = {}
    for sheet in SHEETS:
        text = (files("nas.report") / "templates" / sheet).read_text(encoding="utf-8")
        light = text[text.index(":root {") : text.index("@media")]
        found |= dict(re.findall(r"(--[\w-]+):\s*([^;]+);", light))
    return found
