"""The end of a sweep: print and write the best trials, the commands that repeat them, and the importances."""

from collections import Counter
from collections.abc import Sequence

from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from nas.console import say
from nas.report.chart_files import save_chart
from nas.report.embed import write_page
from nas.runs.folder import METRICS, REPORT, Run
from nas.sweeps.charts import option_charts
from nas.sweeps.hparams import log_trial
from nas.sweeps.objectives import Objective
from nas.sweeps.options import search_command
from nas.sweeps.page import page
from nas.sweeps.plots import plot
from nas.sweeps.queue import Attribute, Slot
from nas.sweeps.ranking import best, complete, number, ranked, short, title
from nas.sweeps.study import Sweep
from nas.sweeps.summary import summary
from nas.sweeps.verdict import verdict

SHOWN = 5
"""Number of trials in the table."""
LINES = 5
"""Largest number of printed commands, and of printed reasons of failures."""


def finish(sweep: Sweep, run: Run, console: Console) -> bool:
    """Write and print the results of a sweep, and return whether any trial is complete.

    Args:
        sweep: the sweep and its study.
        run: the run folder of the sweep.
        console: where the results are printed.
    """
    slots, objectives, measure = sweep.slots(), sweep.plan.objectives, sweep.plan.measure
    front, given = best(slots, objectives), sweep.plan.config.sweep.search
    for slot in slots:
        if slot.finished:
            log_trial(run.path, slot.latest, objectives)
    metrics = summary(sweep)
    run.write_json(METRICS, metrics)
    write_page(run.path / REPORT, page(metrics, run.path, run.path))
    _say_failures(slots, console)
    if not front:
        say(console, f"No trial is complete, so the sweep has no result. Open {run.path / REPORT}")
        return False
    for sentence in verdict(metrics, run.path):
        say(console, sentence)
    console.print(_table(slots, front, objectives, measure, list(sweep.plan.ranges)))
    for name, shares in metrics["importances"].items():
        if shares:
            listed = ", ".join(f"{option} {share:.2f}" for option, share in shares.items())
            say(console, f"Importance of the options for {name} (PED-ANOVA, {len(complete(slots))} trials): {listed}")
    plot(run.path, slots, objectives, measure)
    for chart in option_charts(metrics):
        save_chart(chart, run.path)
    _say_commands(front, given, console)
    say(console, f"Open {run.path / REPORT}, or compare with: tensorboard --logdir {run.path}")
    return True


def _table(
    slots: Sequence[Slot], front: Sequence[Slot], objectives: Sequence[Objective], measure: str, options: list[str]
) -> Table:
    """Return a table of the best trials, one a column: their objectives and their values."""
    several = len(objectives) > 1
    shown = front if several else ranked(slots, objectives)
    ended = f"{len(complete(slots))} of {len(slots)} trials are complete"
    table = Table(
        title="The Pareto front" if several else "The best trials",
        caption=ended if len(shown) <= SHOWN else f"{ended}; {SHOWN} of {len(shown)} are shown",
    )
    table.add_column("trial", no_wrap=True, overflow="fold")
    for slot in shown[:SHOWN]:
        table.add_column(str(slot.number + 1), justify="right")
    for index, objective in enumerate(objectives):
        table.add_row(title(objective.name, measure), *(number(slot.latest.values[index]) for slot in shown[:SHOWN]))
    table.add_section()
    for option in options:
        table.add_row(option, *(short(slot.latest.params[option]) for slot in shown[:SHOWN]))
    return table


def _say_failures(slots: Sequence[Slot], console: Console) -> None:
    """Print the reasons of failed trials, the most frequent first."""
    failed = [slot.latest for slot in slots if slot.finished and slot.latest.state == TrialState.FAIL]
    for reason, count in Counter(trial.user_attrs[Attribute.REASON] for trial in failed).most_common(LINES):
        say(console, f"{count} trial{'s' * (count > 1)} failed: {reason}")


def _say_commands(front: Sequence[Slot], given: list[str], console: Console) -> None:
    """Print the commands that repeat the searches of the best trials."""
    several = len(front) > 1
    say(
        console, "Repeat a search of the Pareto front with:" if several else "Repeat the search of the best trial with:"
    )
    for slot in front[:LINES]:
        say(console, f"  {search_command(given, slot.latest.params)}")
    if len(front) > LINES:
        say(console, f"  and {len(front) - LINES} more in {METRICS}")
