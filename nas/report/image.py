"""Figure of the routing of one sequence, for TensorBoard and for files."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from nas.evaluation.routing_map import RoutingMap
from nas.report.routing import LINEAR_HEIGHT, Row, mean_share, rows, two_decimals
from nas.report.style import plain_style

ORANGE, BLUE, GREY = "#E69F00", "#0072B2", "#DDDDDD"
"""Colours of softmax and linear, distinguishable for colour-blind readers (Okabe and Ito 2008), and of planted."""


def routing_figure(routing: RoutingMap) -> Figure:
    """Return the figure of routing heads (rows) over chunks: tall bars for softmax, low bars for linear attention."""
    given = rows(routing)
    with plain_style():
        height = min(1.3 + 0.28 * len(given), 16)
        figure = Figure(figsize=(10, height), layout="constrained")
        axes = figure.add_subplot()
        _draw_bars(axes, given)
        _mark_planted(axes, routing.planted)
        _label(axes, given, routing)
    return figure


def _draw_bars(axes: Axes, given: list[Row]) -> None:
    weight = np.array([row.weight for row in given])  # [rows, N]
    y, x = np.indices(weight.shape)
    bottom, width = y + 0.42, 0.9 if weight.shape[1] <= 128 else 1.0
    top = bottom - 0.84 * (LINEAR_HEIGHT + (1 - LINEAR_HEIGHT) * weight)
    left, right = x - width / 2, x + width / 2
    corners = np.stack([np.stack(c, -1) for c in ((left, bottom), (right, bottom), (right, top), (left, top))], -2)
    for chosen, colour in ((weight >= 0.5, ORANGE), (weight < 0.5, BLUE)):
        axes.add_collection(PolyCollection(list(corners[chosen]), facecolors=colour))


def _mark_planted(axes: Axes, planted: list[bool] | None) -> None:
    for chunk in np.flatnonzero(planted or []):
        axes.axvspan(chunk - 0.5, chunk + 0.5, color=GREY, linewidth=0, zorder=0)
        axes.plot(chunk, 1.0, "v", color="#222222", markersize=6, transform=axes.get_xaxis_transform(), clip_on=False)


def _label(axes: Axes, given: list[Row], routing: RoutingMap) -> None:
    axes.set_xlim(-0.5, routing.chunks - 0.5)
    axes.set_ylim(len(given) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(16, integer=True))
    axes.set_xlabel(f"chunk of {routing.chunk_size} tokens")
    size = 9 if len(given) <= 48 else 5
    axes.set_yticks(range(len(given)), [row.name for row in given], fontsize=size)
    for y, row in enumerate(given):
        axes.text(1.01, y, two_decimals(row.share), transform=axes.get_yaxis_transform(), va="center", fontsize=size)
        if y and row.head == 0:
            axes.axhline(y - 0.5, color="#999999", linewidth=0.6)
    handles = [Patch(color=ORANGE, label="softmax (tall)"), Patch(color=BLUE, label="linear (low)")]
    if routing.planted is not None:
        handles.append(Patch(color=GREY, label="planted (marked ▼)"))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, borderaxespad=0.8)
    axes.set_title(f"softmax share {mean_share(given):.3f}", loc="right", fontsize=10, pad=12)
