"""The end of a sweep: the best trials, the line that runs them again, what mattered; told and written down."""

from collections import Counter
from collections.abc import Sequence

from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from nas.console import say
from nas.report.chart_files import save_chart
from nas.report.embed import write_page
from nas.runs.folder import METRICS, REPORT, TENSORBOARD, Run
from nas.sweeps.hparams import log_trial
from nas.sweeps.objectives import Objective
from nas.sweeps.options import line
from nas.sweeps.page import option_charts, page
from nas.sweeps.plots import plot
from nas.sweeps.queue import Attribute, Slot
from nas.sweeps.ranking import best, complete, number, ranked, short, title
from nas.sweeps.study import Sweep
from nas.sweeps.summary import summary

SHOWN = 5
"""Trials in the table."""
LINES = 5
"""Lines to run of a Pareto front."""


def answer(sweep: Sweep, run: Run, console: Console) -> bool:
    """Write and tell what came out; returns whether any trial is worth something."""
    slots, objectives, measure = sweep.slots(), sweep.plan.objectives, sweep.plan.measure
    front, given = best(slots, objectives), sweep.plan.config.sweep.search
    for slot in slots:
        if slot.finished:
            log_trial(run.path, slot.number, slot.latest, objectives)
    metrics = summary(sweep)
    run.write_json(METRICS, metrics)
    write_page(run.path / REPORT, page(metrics, run.path, run.path))
    _tell_failures(slots, console)
    if not front:
        say(console, f"No trial came to its end, so there is no answer. Open {run.path / REPORT}")
        return False
    console.print(_table(slots, front, objectives, measure, list(sweep.plan.ranges)))
    for name, shares in metrics["importances"].items():
        if shares:
            told = ", ".join(f"{option} {share:.2f}" for option, share in shares.items())
            say(console, f"What mattered for {name} (PED-ANOVA, {len(complete(slots))} trials): {told}")
    plot(run.path, slots, objectives, measure)
    for chart in option_charts(metrics):
        save_chart(chart, run.path)
    _tell_lines(front, given, console)
    say(console, f"Open {run.path / REPORT}, or compare with: tensorboard --logdir {run.path / TENSORBOARD}")
    return True


def _table(
    slots: Sequence[Slot], front: Sequence[Slot], objectives: Sequence[Objective], measure: str, options: list[str]
) -> Table:
    """The best trials side by side: what came of them, and their values; the best one in bold."""
    several = len(objectives) > 1
    shown = front if several else ranked(slots, objectives)
    ended = f"{len(complete(slots))} of {len(slots)} trials came to their end"
    table = Table(
        title="The Pareto front" if several else "The best trials",
        caption=ended if len(shown) <= SHOWN else f"{ended}; {SHOWN} of {len(shown)} are shown",
    )
    table.add_column("trial")
    for slot in shown[:SHOWN]:
        bold = slot in front and not several
        table.add_column(str(slot.number + 1), justify="right", style="bold" if bold else "")
    for index, objective in enumerate(objectives):
        table.add_row(title(objective.name, measure), *(number(slot.latest.values[index]) for slot in shown[:SHOWN]))
    table.add_section()
    for option in options:
        table.add_row(option, *(short(slot.latest.params[option]) for slot in shown[:SHOWN]))
    return table


def _tell_failures(slots: Sequence[Slot], console: Console) -> None:
    """The reasons of trials that failed, the most frequent first."""
    failed = [slot.latest for slot in slots if slot.finished and slot.latest.state == TrialState.FAIL]
    for reason, count in Counter(trial.user_attrs[Attribute.REASON] for trial in failed).most_common(LINES):
        say(console, f"{count} trial{'s' * (count > 1)} failed: {reason}")


def _tell_lines(front: Sequence[Slot], given: list[str], console: Console) -> None:
    say(console, "Run the best again with:" if len(front) == 1 else "Run one of the front again with:")
    for slot in front[:LINES]:
        say(console, f"  {line(given, slot.latest.params)}")
    if len(front) > LINES:
        say(console, f"  and {len(front) - LINES} more in {METRICS}")
