"""`report.html` of a sweep: objectives of the trials, importance of the options, and a table with links to reports."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.files.lock import in_use
from nas.report.embed import Chart, Charts, environment, link, write_page
from nas.report.table import Cell, Row, Table
from nas.runs.folder import METRICS, REPORT
from nas.runs.provenance import Rows, provenance
from nas.runs.titles import heading
from nas.sweeps.charts import COMPLETE, Trial, merit, option_charts, outcome_charts, titles
from nas.sweeps.objectives import QUALITY
from nas.sweeps.ranking import number, short
from nas.sweeps.summary import sweep_metrics
from nas.sweeps.verdict import verdict


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
    names, head = titles(metrics), heading(folder)
    links = {trial["trial"]: href for trial in trials if (href := _link(trial, folder, at))}
    count = metrics["trials_asked_for"]
    summary = [("trials", f"{metrics['finished']} of {count}", f"{len(done)} complete")]
    if done:
        first = next(iter(names))
        best = metrics["best"][0] if len(names) == 1 else max(done, key=lambda trial: merit(trial, metrics, first))
        label = f"best {names[first]}" + (f" at {head.length:,} tokens" if first == QUALITY and head.length else "")
        summary.insert(0, (label, number(best["objectives"][first]), f"trial {best['trial']}"))
    return SweepPage(
        title=head.title,
        origin=[head.origin],
        answer=[" ".join(sentences)] if (sentences := verdict(metrics, folder)) else [],
        about=_about(metrics, names),
        notes=_notes(metrics, trials, folder, running),
        summary=summary,
        outcome=outcome_charts(metrics, done, names, links) if done else [],
        options=option_charts(metrics),
        trials=_table(metrics, trials, names, links),
        commands=[trial["command"] for trial in metrics["best"]],
        provenance=[(head.folder, provenance(folder))],
    )


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
