"""The curve of an alignment: the errors of each operation over steps, its mean over the layers and its worst layer."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from nas.report.charts import Axis, Series, lines
from nas.report.curves import option_colours
from nas.report.embed import Chart
from nas.runs.history import ERROR, by_operation


def draw_alignment(history: Sequence[Mapping[str, float]], run: str = "") -> Chart | None:
    """Return the chart of an alignment; None if nothing was logged.

    Args:
        history: logged errors, one dict for each step, see `nas.runs.history.history`.
        run: name of the run on a page of several runs.
    """
    steps = [(row["step"], found) for row in history if (found := by_operation(row))]
    if not steps:
        return None
    names = list(steps[0][1])
    colours = option_colours(set(names))
    series = []
    for name in names:
        errors = [(step, own[name]) for step, own in steps if name in own]
        series.append(Series(f"{name}, mean", [(step, fmean(own)) for step, own in errors], colours[name]))
        worst = [(step, max(own)) for step, own in errors]
        series.append(Series(f"{name}, worst layer", worst, colours[name], dashed=True))
    last = ", ".join(f"{one.name} {one.points[-1][1]:.3g}" for one in series)
    title = "Alignment: squared error from the original layers, relative to their outputs" + (run and f", {run}")
    name = f"{ERROR}-{run}" if run else ERROR
    return Chart.of(name, title, f"{last} at step {steps[-1][0]:,.0f}", lines(series, Axis("")))
