"""Matplotlib figures as SVG that lives inside an HTML page and takes its colours from the page's style sheet."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import matplotlib
from matplotlib.figure import Figure

INK, MUTED, GRID, SOFTMAX, VALIDATION = "#000001", "#000002", "#000003", "#000004", "#000005"
"""Stand-ins to draw with; `inline_svg` puts the style sheet's own colours in their place."""

VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule", SOFTMAX: "--softmax", VALIDATION: "--validation"}

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's own font
    "text.parse_math": False,
    "font.size": 10,
    "lines.linewidth": 1.6,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
}

NO_METADATA = dict.fromkeys(["Creator", "Date", "Format", "Type"])


@contextmanager
def plain_style(style: dict[Any, Any] | None = None) -> Iterator[None]:
    """Draw with matplotlib's defaults and ``style``, whatever the user's own matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style or {})
        yield


def inline_svg(figure: Figure, name: str) -> str:
    """An <svg> element for a page; its ids start with ``name``, so that figures on one page do not share any."""
    text = StringIO()
    with plain_style(STYLE | {"svg.hashsalt": name}):
        figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', svg, count=1)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: [^;\"]*?([\d.]+)px[^;\"]*", r"font-size: \1px", svg)
    return re.sub("|".join(VARIABLES), lambda match: f"var({VARIABLES[match[0]]})", svg)
