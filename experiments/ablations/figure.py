"""Precision and recall of planted chunks over training: a small panel for each variant, with the same axes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from experiments.ablations.results import BASE, Trained
from nas.files.saving import replacing
from nas.report.style import COLOURS, MUTED, STYLE, plain_style

COLUMNS = 3
PANEL = (3.6, 1.9)
"""Inches."""
LOOKS: dict[str, dict[str, Any]] = {
    "recall": {"color": COLOURS[0], "linestyle": "-", "linewidth": 1.4},
    "precision": {"color": COLOURS[1], "linestyle": "--", "linewidth": 1.4},
}
"""Line styles; colour and dashes both distinguish the two metrics."""
OF_BASE: dict[str, Any] = {"color": MUTED, "linewidth": 0.8, "alpha": 0.5}
BEGINS: dict[str, Any] = {"color": MUTED, "linestyle": ":", "linewidth": 1}


def write_figure(path: Path, found: Mapping[str, Sequence[Trained]]) -> None:
    """Draw the runs of every variant, keyed by its options, and write the figure as PNG."""
    with replacing(path) as temporary, plain_style(STYLE):
        figure(found).savefig(temporary, format="png")


def figure(found: Mapping[str, Sequence[Trained]]) -> Figure:
    """Draw a panel for each variant and a line for each run; other panels show the default's planted recall in grey."""
    columns = min(COLUMNS, len(found))
    rows = -(-len(found) // columns)
    drawn = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + 0.7), layout="constrained")
    grid = drawn.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for panel, (options, runs) in zip(panels, found.items(), strict=False):
        _draw(panel, options, runs, [] if options == BASE.options else found[BASE.options])
    for panel in panels[len(found) :]:
        panel.set_axis_off()
    for panel in panels[len(found) - columns : len(found)]:  # the lowest of each column
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("step")
    drawn.legend(handles=_legend(), loc="outside upper center", ncols=(1, 2, 4)[columns - 1])
    return drawn


def _draw(panel: Axes, options: str, runs: Sequence[Trained], base: Sequence[Trained]) -> None:
    for run in base:
        _line(panel, run, "recall", OF_BASE)
    for run in runs:
        for name, look in LOOKS.items():
            _line(panel, run, name, look)
    if began := [run.began for run in runs if run.began is not None]:
        panel.axvline(fmean(began), **BEGINS)
    panel.set_title(options.replace(" ", "\n"), fontsize=9, loc="left")
    panel.set_ylim(-0.03, 1.03)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))


def _line(panel: Axes, run: Trained, name: str, look: Mapping[str, Any]) -> None:
    if points := run.curves[name]:
        steps, values = zip(*points, strict=True)
        panel.plot(steps, values, **look)


def _legend() -> list[Line2D]:
    return [
        *(Line2D([], [], **look, label=f"planted {name}") for name, look in LOOKS.items()),
        Line2D([], [], **OF_BASE, label="planted recall of the default"),
        Line2D([], [], **BEGINS, label="routing begins (mean)"),
    ]
