"""The figures of a comparison as files, each as PNG and SVG."""

from pathlib import Path

from nas.comparisons.answer import Answer
from nas.comparisons.cost_figure import COSTS, quality_against_cost
from nas.comparisons.curve_figures import bits_by_position, quality_against_length
from nas.comparisons.looks import STYLE
from nas.report import svg
from nas.run import replacing


def draw(answer: Answer, folder: Path) -> list[Path]:
    """Write every figure that the comparison has something for; returns the paths, a PNG and an SVG of each."""
    figures = {f"quality_by_{cost}": quality_against_cost(answer, cost) for cost in COSTS}
    figures["quality_by_length"] = quality_against_length(answer)
    figures["bits_by_position"] = bits_by_position(answer)
    paths = []
    for name, figure in figures.items():
        if figure is None:
            continue
        for ending, metadata in (("png", {}), ("svg", svg.NO_METADATA)):
            path = folder / f"{name}.{ending}"
            with replacing(path) as temporary, svg.plain_style(STYLE):
                figure.savefig(temporary, format=ending, metadata=metadata)
            paths.append(path)
    return paths
