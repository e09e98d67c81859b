"""Figures of a run as PNG and SVG files for papers: curves, layers and routing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from nas.files.saving import subfolder
from nas.report.curves import Panel, option_colours, panels_of, probabilities
from nas.report.data import ReportData
from nas.report.diagram import Block, Stack
from nas.report.image import routing_figure
from nas.report.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, STYLE, VERMILION, plain_style, save

FOLDER = "figures"
"""Name of the folder beside the report of a run; for another page it follows the page's name."""
COLOURS = {
    "ink": INK,
    "muted": MUTED,
    "softmax": ORANGE,
    "linear": BLUE,
    "validation": GREEN,
    **dict(zip((f"hybrid{place}" for place in range(1, 6)), (GREEN, PURPLE, SKY, VERMILION, "#777777"), strict=True)),
}
"""Colours in files by their names in the style sheet."""
SIZE = (5.2, 3.2)
"""Width and height of a curve in inches."""
FEW_POINTS = 40
"""Largest number of points for which a line has markers."""
PALE = 0.25
"""Opacity of the colours behind text."""


def write_figures(folder: Path, data: ReportData) -> list[Path]:
    """Write every figure that the report has data for into ``folder``, as PNG and SVG; return the paths."""
    figures = {panel.name: curve_figure(panel, data.history) for panel in panels_of(data.history, data.quality)}
    if layers := probabilities(data.history):
        figures["probabilities"] = probability_figure(layers)
    if data.stacks:
        figures["layers"] = layer_figure(data.stacks)
    if data.routing is not None:
        figures["routing"] = routing_figure(data.routing)
    subfolder(folder.parent, folder.name)
    return [path for name, figure in figures.items() for path in save(figure, folder, name)]


def curve_figure(panel: Panel, history: list[dict[str, float]]) -> Figure:
    """Return the figure of a panel: its lines over steps."""
    with plain_style(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        series = panel.series(history)
        for line, points in series:
            marker = "o" if len(points) <= FEW_POINTS and not line.dashed else ""
            style = "--" if line.dashed else "-"
            colour = COLOURS[line.colour]
            axes.plot(*zip(*points, strict=True), color=colour, linestyle=style, marker=marker, markersize=3.5)
        axes.set_title(panel.title, loc="left")
        if panel.limits is not None:
            axes.set_ylim(*panel.limits)
        _steps(axes)
        if len(series) > 1:
            axes.legend([line.label for line, _ in series])
    return figure


def probability_figure(layers: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> Figure:
    """Return the figure of option probabilities over steps: a row for each layer, with stacked areas."""
    colours = option_colours({option for options in layers.values() for option in options})
    with plain_style(STYLE):
        figure = Figure(figsize=(SIZE[0] + 1, 1 + 0.55 * len(layers)), layout="constrained")
        rows = figure.subplots(len(layers), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (layer, options) in zip(rows, layers.items(), strict=True):
            shown = [option for option in colours if option in options]
            steps = [step for step, _ in options[shown[0]]]
            shares = [[share for _, share in options[option]] for option in shown]
            axes.stackplot(steps, shares, colors=[COLOURS[colours[option]] for option in shown])
            axes.set_ylim(0, 1)
            axes.set_yticks([])
            axes.margins(x=0)
            axes.set_ylabel(layer, rotation=0, ha="right", va="center")
        _steps(rows[-1])
        patches = [Rectangle((0, 0), 1, 1, color=COLOURS[colour]) for colour in colours.values()]
        figure.legend(patches, list(colours), loc="outside upper center", ncols=min(4, len(colours)), fontsize=9)
    return figure


def layer_figure(stacks: Sequence[Stack]) -> Figure:
    """Return the figure of the models' layers as blocks side by side, the first layer at the top."""
    layers = max(len(stack.blocks) for stack in stacks)
    with plain_style(STYLE):
        figure = Figure(figsize=(0.7 + 1.45 * len(stacks), 0.5 + 0.5 * layers), layout="constrained")
        axes = figure.add_subplot()
        for column, stack in enumerate(stacks):
            for layer, block in enumerate(stack.blocks):
                _draw_block(axes, column, layer, block)
        axes.set_xlim(0, len(stacks))
        axes.set_ylim(layers, 0)
        axes.set_yticks([layer + 0.5 for layer in range(layers)], [f"layer {layer}" for layer in range(layers)])
        axes.set_xticks([column + 0.5 for column in range(len(stacks))], [stack.name for stack in stacks], fontsize=10)
        axes.xaxis.tick_top()
        for label, stack in zip(axes.get_xticklabels(), stacks, strict=True):
            label.set_fontweight("bold" if stack.searched else "normal")
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure


def _draw_block(axes: Axes, column: int, layer: int, block: Block) -> None:
    """Draw a box in the colour of its operation; with a router in both, with widths by their shares of chunks."""
    share = 1.0 if not block.routed else 0.5 if block.share is None else block.share
    left, width, top, height = column + 0.04, 0.92, layer + 0.08, 0.84
    parts = ((left, share * width), (left + share * width, (1 - share) * width))
    for (start, part), look in zip(parts, block.looks, strict=False):
        axes.add_patch(Rectangle((start, top), part, height, facecolor=look.figure_colour, alpha=PALE, linewidth=0))
    edge = GREEN if block.routed else block.looks[0].figure_colour
    style = "-" if block.keeps_all else "--"
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=edge, linewidth=1.4, linestyle=style))
    words = block.words.replace(", ", "\n")
    axes.text(column + 0.5, layer + 0.5, words, ha="center", va="center", fontsize=8 if "\n" in words else 9.5)


def _steps(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
