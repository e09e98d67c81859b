"""`report.html` of a sweep: objectives of the trials, importance of the options, and a table with links to reports."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from pathlib import Path
from typing import Any

from nas.budget.cost import LONG
from nas.errors import UserError
from nas.evaluation.pareto import front
from nas.files.lock import in_use
from nas.report.charts import Axis, Mark, bars, scatter
from nas.report.curves import sentence
from nas.report.embed import Chart, Charts, environment, link, write_page
from nas.report.parallel import RAMP, Dimension, parallel
from nas.report.table import Cell, Row, Table
from nas.report.units import context, size
from nas.runs.folder import METRICS, REPORT
from nas.runs.metrics import read_metrics
from nas.runs.provenance import Rows, provenance
from nas.runs.titles import heading
from nas.sweeps.ranking import chosen, number, short, title
from nas.sweeps.summary import sweep_metrics

PER_AXIS = 118
"""Smallest width of an axis of parallel coordinates, in pixels."""
CLASSES = ("worst fifth", "second", "middle", "fourth", "best fifth")
"""Fifths of the complete trials by the first objective, from worst to best."""
COLOURS = {"trial": "c8", "Pareto front": "q5"}
COMPLETE = "complete"
FEW = 10
"""Largest number of trials with a tick each: automatic ticks of few trials are between whole numbers."""
SHOWN = 3
"""Largest number of trials in the first paragraph."""

Trial = dict[str, Any]
"""A trial of `metrics.json`."""


@dataclass(frozen=True)
class SweepPage:
    """The values of the template.

    Attributes:
        title: title of the page.
        origin: line below the title: folder and start.
        answer: paragraph of sentences: the best trials, their quality and cost.
        about: the goal, and the options that differ.
        notes: warnings.
        summary: label, value and note of each headline figure.
        outcome: charts of the objectives.
        options: charts of the options.
        trials: table of all trials.
        commands: command lines that repeat the searches of the best trials.
        provenance: labels and values of what made the sweep, by its title.
    """

    title: str
    origin: list[str]
    answer: list[str]
    about: str
    notes: list[str]
    summary: list[tuple[str, str, str]]
    outcome: list[Chart]
    options: list[Chart]
    trials: Table
    commands: list[str]
    provenance: list[tuple[str, Rows]]

    @property
    def charts(self) -> Charts:
        """Return all charts in their order."""
        return Charts([*self.outcome, *self.options])


def write(folder: Path, output: Path) -> None:
    """Write the page of a sweep that is finished, running or stopped.

    Args:
        folder: run folder of the sweep.
        output: path of the page; links to the reports of the trials are relative to it.

    Raises:
        UserError: the folder has no sweep, or is damaged.
    """
    write_page(output, page(sweep_metrics(folder), folder, output.parent, in_use(folder)))


def page(metrics: Mapping[str, Any], folder: Path, at: Path, running: bool = False) -> str:
    """Return the page as text.

    Args:
        metrics: metrics of the sweep, see `nas.sweeps.summary`.
        folder: run folder of the sweep.
        at: folder of the page; links are relative to it.
        running: whether another process goes on with the sweep.
    """
    try:
        made = _page(metrics, folder, at, running)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"{folder / METRICS} is damaged ({type(error).__name__}: {error}); to write it again, run "
            f"python -m nas.sweep resume={folder}"
        ) from error
    return environment().get_template("sweep.html.j2").render(page=made)


def _page(metrics: Mapping[str, Any], folder: Path, at: Path, running: bool) -> SweepPage:
    trials: list[Trial] = metrics["trials"]
    done = [trial for trial in trials if trial["state"] == COMPLETE]
    names = _names(metrics)
    links = {trial["trial"]: href for trial in trials if (href := _link(trial, folder, at))}
    count = metrics["trials_asked_for"]
    summary = [("trials", f"{metrics['finished']} of {count}", f"{len(done)} complete")]
    if done:
        first = next(iter(names))
        best = metrics["best"][0] if len(names) == 1 else max(done, key=lambda trial: _merit(trial, metrics, first))
        summary.insert(0, (f"best {names[first]}", number(best["objectives"][first]), f"trial {best['trial']}"))
    head = heading(folder)
    return SweepPage(
        title=head.title,
        origin=[head.origin],
        answer=[" ".join(_answer(metrics, names, folder))] if metrics["best"] else [],
        about=_about(metrics, names),
        notes=_notes(metrics, trials, folder, running),
        summary=summary,
        outcome=_outcome(metrics, done, names, links) if done else [],
        options=option_charts(metrics),
        trials=_table(metrics, trials, names, links),
        commands=[trial["command"] for trial in metrics["best"]],
        provenance=[(head.folder, provenance(folder))],
    )


def option_charts(metrics: Mapping[str, Any]) -> list[Chart]:
    """Return charts of the importance of options and of parallel coordinates; none if no trial is complete."""
    done = [trial for trial in metrics["trials"] if trial["state"] == COMPLETE]
    return _options(metrics, done, _names(metrics)) if done else []


def _names(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the title of each objective, by name."""
    return {name: title(name, metrics["quality"]) for name in metrics["objectives"]}


def _answer(metrics: Mapping[str, Any], names: Mapping[str, str], folder: Path) -> list[str]:
    """Return sentences on the best trials: their objectives, their options, and the cost of the models."""
    best, count = metrics["best"], sum(trial["state"] == COMPLETE for trial in metrics["trials"])
    shown = best[:SHOWN]
    of = f"{count} complete trial{'s' * (count > 1)}"
    if len(names) > 1:
        some = "" if len(best) <= SHOWN else f"; the first {SHOWN} of them follow"
        sentences = [f"The Pareto front of {' and '.join(names.values())} has {len(best)} of {of}{some}."]
    else:
        sentences = [f"Trial {best[0]['trial']} is the best of {of}."]
    for trial in shown:
        figures = ", ".join(f"{name} {number(trial['objectives'][key])}" for key, name in names.items())
        sentences.append(f"Trial {trial['trial']} has {figures}, with {chosen(trial['values']).replace('  ', ', ')}.")
        sentences += _cost(trial, folder)
    return [*sentences, "Each trial is a single training, so small differences may be noise."]


def _cost(trial: Trial, folder: Path) -> list[str]:
    """Return a sentence on the cost of a trial's model; none if its run folder has no metrics."""
    try:
        metrics = read_metrics(folder / "search" / Path(trial["run"] or "none").name)
    except ValueError:
        return []
    share, cache = metrics.learnt.at_training_length.share, metrics.cost.kv_bytes.get(LONG, math.nan)
    return [f"Its softmax share is {number(share)}, and its cache takes {size(cache)} at {context(LONG)} tokens."]


def _about(metrics: Mapping[str, Any], names: Mapping[str, str]) -> str:
    aims = " and ".join(
        f"{names[name]} as {'high' if direction == 'maximize' else 'low'} as possible"
        for name, direction in metrics["objectives"].items()
    )
    varied = sorted({option for trial in metrics["trials"] for option in trial["values"]})
    return f"The goal is {aims}. The options that differ: {', '.join(varied) or 'none yet'}."


def _notes(metrics: Mapping[str, Any], trials: Sequence[Trial], folder: Path, running: bool) -> list[str]:
    """Return warnings: whether the sweep goes on or is unfinished, and why trials failed or were pruned."""
    notes, ended = [], f"{metrics['finished']} of {metrics['trials_asked_for']} trials have ended so far."
    if running:
        notes.append(f"This page was made while the sweep went on: {ended}")
    elif metrics["finished"] < metrics["trials_asked_for"]:
        resume = f"python -m nas.sweep resume={folder}"
        notes.append(f"Not finished: {ended} No process here goes on with it; to continue: {resume}")
    failed = Counter(trial["reason"] or "its worker was killed" for trial in trials if trial["state"] == "fail")
    notes += [f"{count} trial{'s' * (count > 1)} failed: {reason}" for reason, count in failed.most_common(5)]
    if pruned := sum(trial["state"] == "pruned" for trial in trials):
        was = "s were" if pruned > 1 else " was"
        notes.append(f"{pruned} trial{was} pruned: stopped early, because other trials were better.")
    if trials and not any(trial["state"] == COMPLETE for trial in trials):
        notes.append("No trial is complete yet, so the page has no charts.")
    return notes


def _link(trial: Trial, folder: Path, at: Path) -> str | None:
    """Return the link from the page to the report of a trial; None if the report is missing.

    The folder of the sweep may have been moved.
    """
    if not trial["run"]:
        return None
    run = Path(trial["run"])
    reports = (place / REPORT for place in (run, folder / "search" / run.name))
    found = next((report for report in reports if report.exists()), None)
    return None if found is None else link(found.resolve(), at)


def _merit(trial: Trial, metrics: Mapping[str, Any], objective: str) -> float:
    """Return the value of an objective, with the sign that makes larger better."""
    value = float(trial["objectives"][objective])
    return value if metrics["objectives"][objective] == "maximize" else -value


def _outcome(
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
        spec = scatter(marks, line, Axis(names[first]), Axis(names[second]), COLOURS)
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
    spec = scatter(marks, steps, Axis("trial", ticks=ticks, format="d"), Axis(shown), {"trial": "c1"})
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
    order = sorted(done, key=lambda trial: -_merit(trial, metrics, first))
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


def _table(
    metrics: Mapping[str, Any], trials: Sequence[Trial], names: Mapping[str, str], links: Mapping[int, str]
) -> Table:
    best = {trial["trial"] for trial in metrics["best"]}
    options = list(dict.fromkeys(option for trial in trials for option in trial["values"]))
    rows = []
    for trial in trials:
        label = f"trial {trial['trial']}"
        href = links.get(trial["trial"])
        cells = [Cell("" if href else label, float(trial["trial"]), links=[(label, href)] if href else [])]
        found = trial["objectives"] or {}
        cells += [_figure(found.get(name), number) for name in names]
        cells += [_value(trial["values"].get(option)) for option in options]
        cells += [_figure(trial["seconds"], lambda value: f"{value:,.0f}")]
        cells += [Cell(str(trial["state"]), note=trial["reason"] or "")]
        rows.append(Row(cells, marked=trial["trial"] in best))
    return Table("Trials", ["trial", *names.values(), *options, "trial seconds", "state"], rows)


def _figure(value: float | None, show: Any) -> Cell:
    return Cell("-") if value is None else Cell(show(value), float(value))


def _value(value: Any) -> Cell:
    if value is None:
        return Cell("-")
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(short(value), float(value) if numeric else None)


def _listed(trials: Sequence[int]) -> str:
    return f"trial{'s' * (len(trials) > 1)} {', '.join(map(str, trials))}"
