"""Charts of a comparison's page: quality against cost, by context length and by position."""

from collections.abc import Mapping, Sequence

from nas.comparisons.figures.quality_against_cost import COSTS, corners, known
from nas.comparisons.figures.quality_curves import Curve, length_curves, limits, position_curves
from nas.comparisons.summary import Summary, value
from nas.report.charts import BYTES, Axis, Band, Mark, Spec, bands, scatter
from nas.report.embed import Chart

Links = Mapping[str, Sequence[tuple[str, str]]]
"""Label and link of each training, by name of the contender."""


def against_cost(summary: Summary, links: Links) -> list[Chart]:
    """Return charts of quality against each cost; a click on a model opens the report of its first training."""
    return [chart for cost in COSTS for chart in _of_cost(summary, cost, links)]


def _of_cost(summary: Summary, cost: str, links: Links) -> list[Chart]:
    """Return charts at the shortest and the longest measured length, of contenders with a known cost."""
    given, factors = COSTS[cost], summary.comparison.factors
    made = []
    for factor in sorted({min(factors), max(factors)}):
        rows = [row for row, _ in known(summary, given, factor)]
        if not rows:
            continue
        column = given.column(summary, factor)
        marks = [
            Mark(
                name := str(row["model"]),
                name,
                value(row, column),
                value(row, f"quality_{factor}x"),
                value(row, f"low_{factor}x"),
                value(row, f"high_{factor}x"),
                href=links[name][0][1] if links[name] else None,
            )
            for row in rows
        ]
        most = max(mark.x for mark in marks)
        line = corners([(mark.x, mark.y) for mark in marks], summary.comparison.higher, most)
        x = Axis(given.title(summary), logarithmic=2, labels=BYTES) if given.logarithmic else Axis(given.title(summary))
        times = "" if factor == 1 else f"{factor}x "
        note = f"at {times}the training length, {summary.comparison.length * factor:,} tokens"
        title = f"{summary.measure.capitalize()} against {given.title(summary)}"
        made.append(Chart.of(f"{cost}-{factor}", title, note, scatter(marks, [line], x, Axis(summary.measure))))
    return made


def along_the_sequence(summary: Summary) -> list[Chart]:
    """Return charts of the quality by context length, and of bits by position if they were measured."""
    comparison = summary.comparison
    lengths = [comparison.length * factor for factor in comparison.factors]
    made = []
    if curves := length_curves(summary):
        x = Axis("context length in tokens", ticks=lengths, logarithmic=2, format=",d")
        spec = _bands(summary, curves, x)
        note = f"over {len(lengths)} lengths, with 95 % intervals"
        made.append(Chart.of("length", f"{summary.measure.capitalize()} by context length", note, spec))
    if curves := position_curves(summary):
        x = Axis("position in the sequence, in tokens", logarithmic=2, format=",d")
        spec = _bands(summary, curves, x)
        note = "in the longest measured sequences, with 95 % intervals: lower is better"
        made.append(Chart.of("position", f"{summary.measure.capitalize()} by position", note, spec))
    return made


def _bands(summary: Summary, curves: Sequence[Curve], x: Axis) -> Spec:
    """Return a chart of curves, with a mark at the training length."""
    given = [Band(one.name, list(zip(one.x, one.y, one.low, one.high, strict=True))) for one in curves]
    y = Axis(summary.measure, limits=limits(summary, curves))
    return bands(given, x, y, (summary.comparison.length, "training length"))
