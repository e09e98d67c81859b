"""Write the figures of a comparison, each as PNG and SVG."""

from pathlib import Path

from nas.comparisons.figures.quality_against_cost import COSTS, quality_against_cost
from nas.comparisons.figures.quality_curves import bits_by_position, quality_against_length
from nas.comparisons.summary import Summary
from nas.report.style import save


def draw(summary: Summary, folder: Path) -> list[Path]:
    """Write every figure for which the comparison has data and return the paths, a PNG and an SVG of each."""
    figures = {f"quality_by_{cost}": quality_against_cost(summary, cost) for cost in COSTS}
    figures["quality_by_length"] = quality_against_length(summary)
    figures["bits_by_position"] = bits_by_position(summary)
    return [path for name, figure in figures.items() if figure for path in save(figure, folder, name)]
