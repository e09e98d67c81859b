"""Style of matplotlib figures for papers: rc parameters, colours, and PNG and SVG files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.files.saving import replacing

INK, MUTED, RULE = "#222222", "#555555", "#dddddd"
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, INK, ORANGE, SKY, "#777777")
"""Colours for colour-blind readers (Okabe and Ito 2008), with grey instead of their yellow, which is faint on white."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # the layout of text does not depend on the reader's fonts
    "svg.hashsalt": "figure",
    "savefig.dpi": 200,
    "text.parse_math": False,
    "font.size": 11,
    "lines.linewidth": 1.6,
    "axes.titlesize": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}

METADATA = {"png": {}, "svg": dict.fromkeys(["Creator", "Date", "Format", "Type"])}
"""Metadata by file ending, without entries that differ from run to run."""


@contextmanager
def plain_style(style: dict[Any, Any] | None = None) -> Iterator[None]:
    """Draw with matplotlib's defaults and ``style``, ignoring the user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style or {})
        yield


def mark_training_length(axes: Axes, length: int) -> None:
    """Mark the training length on a horizontal axis of tokens if it is in the range of the axis."""
    if axes.get_xlim()[1] < length:
        return
    axes.axvline(length, color=MUTED, linewidth=1, linestyle=":", zorder=1.5)
    axes.annotate(
        "training length",
        xy=(length, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        color=MUTED,
        fontsize=9,
    )


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and as SVG; return their paths."""
    paths = []
    for ending, metadata in METADATA.items():
        path = folder / f"{name}.{ending}"
        with replacing(path) as temporary, plain_style(STYLE):
            figure.savefig(temporary, format=ending, metadata=metadata)
        paths.append(path)
    return paths
