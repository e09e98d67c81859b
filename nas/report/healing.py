"""The curves of a healing: the errors of the hidden states, and the divergence from the original's predictions."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from nas.report.charts import Axis, Series, lines
from nas.report.embed import Chart
from nas.runs.history import HIDDEN, ORIGINAL

TITLES = {
    HIDDEN: "Healing: squared error from the original's hidden states, relative to them",
    ORIGINAL: "Healing: divergence from the original, nats per token",
}
"""Title of each chart, by the name of what was logged."""


def draw_healing(history: Sequence[Mapping[str, float]], run: str = "") -> list[Chart]:
    """Return the charts of a healing; none if nothing was logged.

    Args:
        history: logged figures, one dict for each step, see `nas.runs.history.history`.
        run: name of the run on a page of several runs.
    """
    errors = [(row["step"], own) for row in history if (own := _errors(row))]
    divergences = [(row["step"], row[ORIGINAL]) for row in history if ORIGINAL in row]
    drawn = {
        HIDDEN: [
            Series("mean of the layers", [(step, fmean(own)) for step, own in errors], "ink"),
            Series("worst layer", [(step, max(own)) for step, own in errors], "ink", dashed=True),
        ]
        if errors
        else [],
        ORIGINAL: [Series("KL", divergences, "ink")] if divergences else [],
    }
    return [_chart(name, series, run) for name, series in drawn.items() if series]


def _errors(row: Mapping[str, float]) -> list[float]:
    """Return the errors of all layers at a step."""
    return [value for name, value in row.items() if name.startswith(f"{HIDDEN}/")]


def _chart(name: str, series: list[Series], run: str) -> Chart:
    last = ", ".join(f"{one.name} {one.points[-1][1]:.3g}" for one in series)
    step = series[0].points[-1][0]
    made = f"healing-{name}" + (run and f"-{run}")
    return Chart.of(made, TITLES[name] + (run and f", {run}"), f"{last} at step {step:,.0f}", lines(series, Axis("")))
