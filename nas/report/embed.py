"""Charts inside a page: Vega-Lite is made into Vega here, and the page carries what draws it in the browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined

from nas.runs.folder import plain, replacing

VEGA_LITE = "6.4"
"""Version of the language in which charts are written."""

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
"""The style sheet's colours, so that light and dark need no second drawing."""


@dataclass(frozen=True)
class Chart:
    """A chart that is ready to be put into a page.

    Attributes:
        name: in ids; unique in the page.
        title: above it.
        told: what it comes to, in words: it stands beside the title.
        spec: in Vega; None where there is nothing that can be drawn.
        wide: whether it takes the whole width of the page.
        least: pixels that it needs in width; where the page has fewer, it can be scrolled.
    """

    name: str
    title: str
    told: str
    spec: dict[str, Any] | None
    wide: bool = False
    least: int = 0

    @classmethod
    def of(
        cls, name: str, title: str, told: str, vega_lite: dict[str, Any], wide: bool = False, least: int = 0
    ) -> "Chart":
        """A chart that is written in Vega-Lite; as wide as its place, and described to screen readers by its words."""
        given = {"width": "container", "description": f"{title}. {told}", "config": CONFIG} | vega_lite
        spec: dict[str, Any] = vl_convert.vegalite_to_vega(plain(given), vl_version=VEGA_LITE)
        return cls(name, title, told, spec, wide, least)


@dataclass(frozen=True)
class Charts:
    """The charts of a page, in their order, with what the page needs to draw them."""

    charts: Sequence[Chart]

    @property
    def specs(self) -> dict[str, dict[str, Any]]:
        """By the id of the place where each is drawn."""
        return {f"chart-{chart.name}": chart.spec for chart in self.charts if chart.spec is not None}

    @property
    def library(self) -> str:
        """The script that sets ``window.vegaEmbed``."""
        return library()


@cache
def library() -> str:
    """Vega and Vega-Embed as one script, with their licences; fit to stand inside an HTML page."""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;", vl_version=VEGA_LITE)
    licences = (files("nas.report") / "templates" / "licences.txt").read_text(encoding="utf-8")
    return f"/*!\n{licences}*/\n{script}".replace("</script", r"<\/script")


def environment() -> Environment:
    """In which the templates of pages are filled in: what is put into them is escaped."""
    return Environment(
        loader=PackageLoader("nas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, page: str) -> None:
    """Write a page. Whatever fails, ``path`` holds either what it held before or the whole new page."""
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
