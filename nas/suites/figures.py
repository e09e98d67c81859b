"""Figures of the suites, each as PNG and SVG: scores by position and by distance, and tasks by length."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from nas.files.saving import subfolder
from nas.report.style import COLOURS, INK, MUTED, STYLE, mark_training_length, plain_style, save
from nas.suites.identifiers import ON_NAMES, ON_TOKENS
from nas.suites.result import Result, Score, Segment
from nas.suites.text import BITS, CURVE

FOLDER = "figures"
"""Folder of the figures in the output folder."""
SIZE = (6.4, 4.0)
"""Width and height of a panel in inches."""
RULER_COLOURS = "Blues"
"""Colours of scores from 0 to 1."""
DARK = 0.6
"""Score from which on the text in a cell is white."""


def draw(by_suite: Mapping[str, Sequence[Result]], trained: int, output: Path) -> list[Path]:
    """Write the figure of each suite and return the paths.

    Args:
        by_suite: results by suite.
        trained: training length in tokens, which the figures mark.
        output: folder in which the folder of the figures is.
    """
    drawers = {"text": text, "ruler": ruler, "recall": recall, "identifiers": identifiers}
    figures = {suite: drawers[suite](results, trained) for suite, results in by_suite.items()}
    folder = subfolder(output, FOLDER)
    return [path for suite, figure in figures.items() for path in save(figure, folder, suite)]


def text(results: Sequence[Result], trained: int) -> Figure:
    """Return the figure of bits per byte by position, a curve for each length."""
    with plain_style(STYLE):
        figure, (axes,) = _panels(1)
        _curves(axes, results, CURVE)
        mark_training_length(axes, trained)
        axes.set_xlabel("position in the sequence, in tokens")
        axes.set_ylabel(f"{BITS} (lower is better)")
        _legend(axes, results)
    return figure


def recall(results: Sequence[Result], trained: int) -> Figure:
    """Return the figure of accuracy and loss on AR hits by distance, beside other tokens as dashed lines."""
    with plain_style(STYLE):
        figure, panels = _panels(2)
        for axes, measure, better in zip(panels, ("accuracy", "bits per token"), ("higher", "lower"), strict=True):
            _curves(axes, results, f"{measure} on AR hits by distance")
            for place, result in enumerate(results):
                axes.axhline(
                    result.scores[f"{measure} on other tokens"].value, color=_colour(place), linewidth=1, linestyle="--"
                )
            mark_training_length(axes, trained)
            axes.set_xlabel("distance to the earlier n-gram, in tokens")
            axes.set_ylabel(f"{measure} ({better} is better)")
        _legend(panels[0], results, ("other tokens", "--"))
    return figure


def identifiers(results: Sequence[Result], trained: int) -> Figure:
    """Return the figure of the accuracy on names and on their tokens by distance, a curve for each length."""
    with plain_style(STYLE):
        figure, panels = _panels(2)
        for axes, measure in zip(panels, (ON_NAMES, ON_TOKENS), strict=True):
            _curves(axes, results, f"{measure} by distance")
            chance = results[-1].chance[measure]  # the longest sequences have the most names, the shortest maybe none
            axes.axhline(chance, color=MUTED, linewidth=1, linestyle="--")
            mark_training_length(axes, trained)
            axes.set_ylim(bottom=0)
            axes.set_xlabel("distance to the occurrence before, in tokens")
            axes.set_ylabel(f"{measure} (higher is better)")
        _legend(panels[0], results, ("chance", "--"))
    return figure


def ruler(results: Sequence[Result], _: int) -> Figure:
    """Return the figure of the score of each task at each length, as coloured cells."""
    tasks = list(dict.fromkeys(result.part for result in results))
    lengths = sorted({result.length for result in results})
    scores: dict[tuple[str, int], Score] = {(one.part, one.length): one.scores["score"] for one in results}
    values = [
        [scores[task, length].value if (task, length) in scores else math.nan for length in lengths] for task in tasks
    ]
    with plain_style(STYLE):
        figure = Figure(figsize=(2.6 + 1.1 * max(2, len(lengths)), 1.0 + 0.36 * len(tasks)), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(values, cmap=RULER_COLOURS, vmin=0, vmax=1, aspect="auto")
        for row, task in enumerate(tasks):
            for column, length in enumerate(lengths):
                if (score := scores.get((task, length))) is not None:
                    colour = "white" if score.value >= DARK else INK
                    axes.text(column, row, f"{score.value:.2f}", ha="center", va="center", color=colour, fontsize=10)
        axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
        axes.set_yticks(range(len(tasks)), [task.replace("_", " ") for task in tasks])
        axes.set_xlabel("tokens of prompt and output")
        axes.set_title("answers found")
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels side by side, whose horizontal axes have powers of two."""
    figure = Figure(figsize=(SIZE[0] if count == 1 else 0.8 * SIZE[0] * count, SIZE[1]), layout="constrained")
    panels = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    for axes in panels:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else "")
    return figure, panels


def _curves(axes: Axes, results: Sequence[Result], name: str) -> None:
    """Draw the curve of each length, with a band of one standard error; short ones lie above, since all may agree."""
    for place, result in reversed([*enumerate(results)]):
        segments = [one for one in result.curves[name] if math.isfinite(one.score.value)]
        x = [_middle(one) for one in segments]
        y = [one.score.value for one in segments]
        noise = [0.0 if math.isnan(one.score.error) else one.score.error for one in segments]
        low, high = ([value + sign * error for value, error in zip(y, noise, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=_colour(place), alpha=0.15, linewidth=0)
        axes.plot(x, y, color=_colour(place), marker="o", markersize=3.5)


def _middle(segment: Segment) -> float:
    """Return the middle of a range on a logarithmic axis."""
    return math.sqrt(max(segment.start, 1) * segment.end)


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _legend(axes: Axes, results: Sequence[Result], further: tuple[str, str] | None = None) -> None:
    """Name the curves by their lengths, and the further lines by what they are."""
    for place, result in enumerate(results):
        axes.plot([], [], color=_colour(place), label=f"{result.length:,} tokens")
    if further is not None:
        axes.plot([], [], color=MUTED, linestyle=further[1], linewidth=1, label=further[0])
    axes.legend(fontsize=9)
