"""Charts inside a page: Vega-Lite is compiled to Vega, and the page contains the library that draws it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from nas.files.saving import replacing
from nas.kernels.user_cache import add_to_cache, cache_path, read_cache
from nas.runs.folder import plain

GENERATOR = "nas-hybrid-attention"
"""Name in the head of every page, by which a page of this project is known."""
VEGA_LITE = "6.4"
"""Version of Vega-Lite."""
SCRIPTS = "scripts.json"
"""File of the user's cache folder with the script that draws charts: bundling it takes seconds."""

CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "titleFontWeight": "normal",
        "gridColor": "var(--rule)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelSeparation": 6,
    },
    "legend": {
        "orient": "top",
        "title": None,
        "labelColor": "var(--ink)",
        "labelFontSize": 12,
        "labelLimit": 150,
        "symbolStrokeWidth": 2,
    },
    "text": {"color": "var(--muted)", "fontSize": 11},
    "header": {"labelColor": "var(--ink)", "titleColor": "var(--ink)"},
}
"""Config of all charts. Its colours are variables of the style sheet, so that one chart serves light and dark."""


@dataclass(frozen=True)
class Chart:
    """A chart for a page.

    Attributes:
        name: unique part of its ids in the page.
        title: title above the chart.
        summary: summary of the chart in words, beside the title.
        spec: Vega specification; None if there is nothing to draw.
        wide: whether the chart takes the whole width of the page.
        least: minimum width in pixels, below which the chart scrolls.
    """

    name: str
    title: str
    summary: str
    spec: dict[str, Any] | None
    wide: bool = False
    least: int = 0

    @classmethod
    def of(
        cls, name: str, title: str, summary: str, vega_lite: dict[str, Any], wide: bool = False, least: int = 0
    ) -> "Chart":
        """Make a chart from Vega-Lite, with the width of its container, and its words as text for screen readers."""
        given = {"width": "container", "description": f"{title}. {summary}", "config": CONFIG} | vega_lite
        spec: dict[str, Any] = vl_convert.vegalite_to_vega(plain(given), vl_version=VEGA_LITE)
        return cls(name, title, summary, spec, wide, least)


@dataclass(frozen=True)
class Charts:
    """The charts of a page in order, with the data and the script that draw them."""

    charts: Sequence[Chart]

    @property
    def specs(self) -> dict[str, dict[str, Any]]:
        """The Vega specifications by the id of the element of each chart."""
        return {f"chart-{chart.name}": chart.spec for chart in self.charts if chart.spec is not None}

    @property
    def library(self) -> str:
        """The script that sets ``window.vegaEmbed``."""
        return library()


@cache
def library() -> str:
    """Return Vega and Vega-Embed as one script with their licences, escaped for an HTML page."""
    path, bundler = cache_path(SCRIPTS), f"vl-convert {version('vl-convert-python')}"
    script = read_cache(path, bundler).get(VEGA_LITE)
    if not isinstance(script, str):
        script = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;", vl_version=VEGA_LITE)
        add_to_cache(path, bundler, {VEGA_LITE: script})
    licences = (files("nas.report") / "templates" / "licences.txt").read_text(encoding="utf-8")
    return f"/*!\n{licences}*/\n{script}".replace("</script", r"<\/script")


@cache
def environment() -> Environment:
    """Return the Jinja environment of all page templates, which escapes every inserted value and compiles each once."""
    made = Environment(
        loader=PackageLoader("nas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["generator"] = GENERATOR
    return made


def link(target: Path, at: Path) -> str:
    """Return the link from a page in the folder ``at`` to a file; names of files need not be UTF-8."""
    return quote(os.fsencode(os.path.relpath(target, at.resolve())))


def is_page(path: Path) -> bool:
    """Return whether a file is a page that `write_page` wrote."""
    with path.open("rb") as file:
        return f'<meta name="generator" content="{GENERATOR}">'.encode() in file.read(500)


def write_page(path: Path, page: str) -> None:
    """Write a page completely or not at all: after an error ``path`` is unchanged."""
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
