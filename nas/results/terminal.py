"""Print the results of a run: a table of quality by row, and sentences."""

from rich.console import Console
from rich.table import Table

from nas.budget.cost import LONG
from nas.console import say, terminal_table
from nas.evaluation.metrics import DIRECTION
from nas.report.units import number
from nas.results.controls import FOUND, HEALED
from nas.results.report_data import cells, memory
from nas.runs.folder import REPORT, Run
from nas.runs.metrics import Metrics


def print_results(console: Console, run: Run, metrics: Metrics) -> None:
    """Print the results of a run, and how to view them or resume the run."""
    for sentence in metrics.verdict:
        say(console, sentence)
    console.print(table(metrics))
    for sentence in (*sentences(metrics), *metrics.notes):
        say(console, sentence)
    say(console, f"Open {run.path / REPORT}, or watch with: tensorboard --logdir {run.path}")
    if not metrics.finished:
        say(console, f"Continue with: resume={run.path}")


def table(metrics: Metrics) -> Table:
    """Return the table of softmax share and quality by length: the learnt row, then its controls."""
    others = "as other architectures" if metrics.learnt.name == FOUND else "under other routings"
    title = f"The same weights {others}" if metrics.controls else "The trained model"
    if metrics.learnt.name == HEALED:
        title = "The healed model and the weights before its healing"
    if metrics.original is not None:
        title += ", beside the original model"
    chance = "" if metrics.chance is None else f"; chance: {number(metrics.chance)}"
    caption = f"{metrics.quality.replace('_', ' ')}: {DIRECTION[metrics.quality]}{chance}"
    return terminal_table(cells(metrics), title, caption, first_bold=metrics.ahead)


def sentences(metrics: Metrics) -> list[str]:
    """Return sentences on the layer that retrieves, the options of layers, cost and speed."""
    made = []
    layer = metrics.retrieving_layer
    if layer is not None and layer.recall > 0:
        made.append(
            f"Layer {layer.layer} retrieves: it keeps planted chunks with precision {number(layer.precision)} "
            f"and recall {number(layer.recall)}."
        )
    if metrics.choices:
        made.append("Found: " + ", ".join(choice.found for choice in metrics.choices) + ".")
    made.append(
        f"{metrics.cost.parameters:,} parameters. Cache size at {LONG:,} tokens: {memory(metrics)} of keys, values "
        "and states."
    )
    if metrics.tokens_per_second:
        of_peak = "" if metrics.flops_share is None else f", {100 * metrics.flops_share:.1f} % of the GPU's peak FLOPs"
        made.append(f"Training throughput: {metrics.tokens_per_second:,.0f} tokens per second{of_peak}.")
    return made
