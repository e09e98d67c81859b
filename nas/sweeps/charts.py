"""Charts of a sweep's page: fronts and histories of the objectives, importance and values of the options."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations, pairwise
from typing import Any

from nas.evaluation.pareto import front
from nas.report.charts import Axis, Mark, bars, scatter
from nas.report.curves import sentence
from nas.report.embed import Chart
from nas.report.parallel import RAMP, Dimension, parallel
from nas.sweeps.ranking import number, short, title

PER_AXIS = 118
"""Smallest width of an axis of parallel coordinates, in pixels."""
CLASSES = ("worst fifth", "second", "middle", "fourth", "best fifth")
"""Fifths of the complete trials by the first objective, from worst to best."""
COLOURS = {"trial": "c8", "Pareto front": "q5"}
COMPLETE = "complete"
FEW = 10
"""Largest number of trials with a tick each: automatic ticks of few trials are between whole numbers."""
Trial = dict[str, Any]
"""A trial of `metrics.json`."""


def titles(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the title of each objective, by name."""
    return {name: title(name, metrics["quality"]) for name in metrics["objectives"]}


def merit(trial: Trial, metrics: Mapping[str, Any], objective: str) -> float:
    """Return the value of an objective, with the sign that makes larger better."""
    value = float(trial["objectives"][objective])
    return value if metrics["objectives"][objective] == "maximize" else -value


def option_charts(metrics: Mapping[str, Any]) -> list[Chart]:
    """Return charts of the importance of options and of parallel coordinates; none if no trial is complete."""
    done = [trial for trial in metrics["trials"] if trial["state"] == COMPLETE]
    return _options(metrics, done, titles(metrics)) if done else []


def outcome_charts(
    metrics: Mapping[str, Any], done: Sequence[Trial], names: Mapping[str, str], links: Mapping[int, str]
) -> list[Chart]:
    """Return charts of the Pareto front of each pair of objectives, and of the history of each objective."""
    on_front = {trial["trial"] for trial in metrics["best"]}
    made: list[Chart] = []
    for first, second in combinations(names, 2):
        marks = [
            Mark(
                f"trial {trial['trial']}",
                "Pareto front" if trial["trial"] in on_front else "trial",
                float(trial["objectives"][first]),
                float(trial["objectives"][second]),
                href=links.get(trial["trial"]),
            )
            for trial in done
        ]
        line = _corners(marks, metrics["objectives"], first, second)
        note = f"on the Pareto front: {_listed(sorted(on_front))}"
        spec = scatter(marks, [line], Axis(names[first]), Axis(names[second]), COLOURS)
        made.append(Chart.of(f"front-{len(made)}", f"{sentence(names[second])} against {names[first]}", note, spec))
    return made + [_history(metrics, done, name, shown, links) for name, shown in names.items()]


def _corners(
    marks: Sequence[Mark], objectives: Mapping[str, str], first: str, second: str
) -> list[tuple[float, float]]:
    """Return the corners of the step line through the Pareto front of two objectives."""
    signs = [-1 if objectives[name] == "maximize" else 1 for name in (first, second)]
    points = sorted({(mark.x, mark.y) for mark in marks})
    kept = [points[index] for index in front([(signs[0] * x, signs[1] * y) for x, y in points])]
    between = [((b[0], a[1]), b) if signs[0] > 0 else ((a[0], b[1]), b) for a, b in pairwise(kept)]
    return [*kept[:1], *(corner for corners in between for corner in corners)]


def _history(
    metrics: Mapping[str, Any], done: Sequence[Trial], name: str, shown: str, links: Mapping[int, str]
) -> Chart:
    """Return the chart of an objective over the trials, with a line for the best value so far."""
    values = [float(trial["objectives"][name]) for trial in done]
    pick = max if metrics["objectives"][name] == "maximize" else min
    so_far = list(accumulate(values, pick))
    marks = [
        Mark(f"trial {trial['trial']}", "trial", float(trial["trial"]), value, href=links.get(trial["trial"]))
        for trial, value in zip(done, values, strict=True)
    ]
    at = [float(trial["trial"]) for trial in done]
    steps = [(at[0], so_far[0])]
    for here, (before, best) in zip(at[1:], pairwise(so_far), strict=True):
        steps += [(here, before), (here, best)]
    note = f"the line is the best value so far: {number(so_far[-1])} after {len(done)} trials"
    ticks = at if len(at) <= FEW else None
    spec = scatter(marks, [steps], Axis("trial", ticks=ticks, format="d"), Axis(shown), {"trial": "c1"})
    return Chart.of(f"history-{name}", f"{sentence(shown)} over the trials", note, spec)


def _options(metrics: Mapping[str, Any], done: Sequence[Trial], names: Mapping[str, str]) -> list[Chart]:
    """Return charts of the importance of options for each objective, and of parallel coordinates of the trials."""
    made = []
    for place, (objective, shares) in enumerate(metrics["importances"].items()):
        if shares:
            note = f"for being among the best tenth of trials (PED-ANOVA, {len(done)} trials)"
            name = f"Importance of the options for {objective}"
            chart = Chart.of(f"importances-{place}", name, note, bars(shares))
            made.append(chart)
    options = list(done[0]["values"])
    dimensions = [_option(option, metrics.get("ranges", {}).get(option, {}), done) for option in options]
    dimensions += [
        _objective(shown, [float(trial["objectives"][name]) for trial in done]) for name, shown in names.items()
    ]
    first = next(iter(names))
    order = sorted(done, key=lambda trial: -merit(trial, metrics, first))
    fifths = {trial["trial"]: len(RAMP) * behind // len(done) for behind, trial in enumerate(order)}
    classes = [len(RAMP) - 1 - fifths[trial["trial"]] for trial in done]
    spec = parallel([f"trial {trial['trial']}" for trial in done], classes, dimensions, CLASSES)
    note = f"each line is a trial; its colour shows the rank of its {names[first]} among all trials"
    made.append(
        Chart.of("parallel", "Trials by their options", note, spec, wide=True, least=PER_AXIS * len(dimensions))
    )
    return made


def _option(option: str, allowed: Mapping[str, Any], done: Sequence[Trial]) -> Dimension:
    values = [trial["values"].get(option) for trial in done]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if numeric and "choices" not in allowed:
        low, high = float(allowed.get("low", min(values))), float(allowed.get("high", max(values)))
        return _numeric(option, [float(value) for value in values], low, high, bool(allowed.get("log")), short)
    choices = list(allowed.get("choices", [])) or list(dict.fromkeys(values))
    place = {str(choice): (at + 0.5) / len(choices) for at, choice in enumerate(choices)}
    shown = [str(value) for value in values]
    return Dimension(option, [place.get(value, 0.0) for value in shown], shown, {at: one for one, at in place.items()})


def _objective(shown: str, values: Sequence[float]) -> Dimension:
    return _numeric(shown, values, min(values), max(values), False, number)


def _numeric(shown: str, values: Sequence[float], low: float, high: float, log: bool, show: Any) -> Dimension:
    """Return an axis from ``low`` to ``high``, with ticks at both ends and in the middle."""
    scale = math.log if log and low > 0 else float
    width = scale(high) - scale(low)
    if not width:
        return Dimension(shown, [0.5] * len(values), list(map(show, values)), {0.5: show(low)})
    middle = math.sqrt(low * high) if scale is math.log else (low + high) / 2
    ticks = {at: show(value) for at, value in ((0.0, low), (0.5, middle), (1.0, high))}
    places = [(scale(value) - scale(low)) / width for value in values]
    return Dimension(shown, places, list(map(show, values)), ticks)


def _listed(trials: Sequence[int]) -> str:
    return f"trial{'s' * (len(trials) > 1)} {', '.join(map(str, trials))}"
