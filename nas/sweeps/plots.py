"""The figure of a sweep: the Pareto front of several objectives, or the history of one over the trials."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from nas.report.style import STYLE, VERMILION, plain_style, save
from nas.sweeps.objectives import Objective
from nas.sweeps.queue import Slot
from nas.sweeps.ranking import best, complete, title

PARETO, HISTORY = "pareto", "history"
FRONT, OTHERS = VERMILION, "#9aa5b1"


def plot(folder: Path, slots: Sequence[Slot], objectives: Sequence[Objective], measure: str) -> list[Path]:
    """Draw the figure of a sweep as PNG and SVG and return their paths; at least one trial must be complete.

    Args:
        folder: folder of the files.
        slots: the trials.
        objectives: one for the history; several for the front, with a panel for each pair of successive objectives.
        measure: name of the quality measure.
    """
    pairs = list(pairwise(range(len(objectives)))) or [(0, 0)]
    with plain_style(STYLE):
        figure = Figure(figsize=(5.5 * len(pairs), 4.2), layout="constrained")
        for place, (first, second) in enumerate(pairs):
            axes = figure.add_subplot(1, len(pairs), place + 1)
            if len(objectives) == 1:
                _history(axes, slots, objectives[0])
                axes.set_xlabel("trial")
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            else:
                _front(axes, slots, objectives, first, second)
                axes.set_xlabel(title(objectives[first].name, measure))
            axes.set_ylabel(title(objectives[second].name, measure))
            axes.legend(frameon=False, fontsize=9)
    return save(figure, folder, PARETO if len(objectives) > 1 else HISTORY)


def _history(axes: Axes, slots: Sequence[Slot], objective: Objective) -> None:
    ended = complete(slots)
    values = [slot.latest.values[0] for slot in ended]
    axes.scatter([slot.number + 1 for slot in ended], values, s=22, color=OTHERS, label="trial")
    pruned = [slot for slot in slots if slot.latest.state == TrialState.PRUNED and slot.latest.values]
    if pruned:
        label = "pruned, at its last report"
        x, y = [slot.number + 1 for slot in pruned], [slot.latest.values[0] for slot in pruned]
        axes.scatter(x, y, s=22, marker="x", color=OTHERS, label=label)
    so_far = [objective.best(values[: count + 1]) for count in range(len(values))]
    axes.step([slot.number + 1 for slot in ended], so_far, where="post", color=FRONT, label="best so far")


def _front(axes: Axes, slots: Sequence[Slot], objectives: Sequence[Objective], first: int, second: int) -> None:
    front = best(slots, objectives)
    others = [slot for slot in complete(slots) if slot not in front]
    for some, color, label in ((others, OTHERS, "trial"), (front, FRONT, "Pareto front")):
        x, y = ([slot.latest.values[index] for slot in some] for index in (first, second))
        axes.scatter(x, y, s=22, color=color, label=label)
    if len(objectives) == 2:
        points = [[slot.latest.values[index] for slot in front] for index in (first, second)]
        axes.step(*points, where="post", color=FRONT, linewidth=1, alpha=0.6)
    for slot in front:
        place = (slot.latest.values[first], slot.latest.values[second])
        axes.annotate(str(slot.number + 1), place, textcoords="offset points", xytext=(4, 4), fontsize=9)
