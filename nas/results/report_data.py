"""Content of the report of one run, from its metrics and its run folder."""

from dataclasses import replace

from nas.budget.cost import LONG
from nas.data import Task
from nas.evaluation.routing_map import RoutingMap
from nas.report.data import ReportData
from nas.report.diagram import stacks_of
from nas.report.units import MISSING, number
from nas.runs.folder import Run, command_line
from nas.runs.history import history
from nas.runs.metrics import Metrics, Row
from nas.runs.provenance import provenance
from nas.runs.snapshots import map_of, read_snapshots


def report_of(
    run: Run, metrics: Metrics | None, quality: str, routing: RoutingMap | None, notes: list[str]
) -> ReportData:
    """Return the content of the report of a run.

    Args:
        run: run folder with the curves and snapshots to show.
        metrics: final figures; None if the run has none yet.
        quality: name of the figure of merit.
        routing: routing of one sequence; None if no layer routes.
        notes: sentences to show above the figures.
    """
    return ReportData(
        title=run.path.resolve().name,
        summary=[] if metrics is None else _summary(metrics),
        quality=quality,
        comparison=[] if metrics is None else cells(metrics),
        history=history(run),
        routing=routing,
        notes=notes,
        command=command_line(),
        snapshots=read_snapshots(run),
        stacks=stacks_of(run.path),
        provenance=provenance(run.path),
    )


def with_latest_routing(data: ReportData, task: Task) -> ReportData:
    """Return the report with the routing of its latest snapshot, if it has snapshots but no routing after training.

    This is the case if the run is not finished, or if the search chose none of the layers that routed in training.
    """
    if data.routing is not None or not data.snapshots:
        return data
    *earlier, latest = data.snapshots
    try:
        return replace(data, routing=map_of(latest, task), routing_at=latest.step, snapshots=earlier)
    except ValueError:  # of another sequence: the data has changed
        return replace(data, snapshots=[])


def cells(metrics: Metrics) -> list[dict[str, str]]:
    """Return the rows of the final table: name, softmax share and quality by length."""
    measure = metrics.quality.replace("_", " ")
    return [_cells(row, measure) for row in metrics.rows]


def _cells(row: Row, measure: str) -> dict[str, str]:
    shown = {"model": row.name, "softmax share": number(row.at_training_length.share)}
    for factor, figures in row.by_factor.items():
        shown[measure if factor == 1 else f"at {factor}x length"] = number(figures.quality)
    return shown


def memory(metrics: Metrics) -> str:
    """Return the cache size of a sequence of `LONG` tokens, as text."""
    size = metrics.cost.kv_bytes.get(LONG)
    return MISSING if size is None else f"{size / 2**20:.2f} MiB"


def _summary(metrics: Metrics) -> list[tuple[str, str]]:
    """Return the label and the value of each headline figure."""
    summary = [(metrics.quality.replace("_", " "), number(metrics.learnt.at_training_length.quality))]
    summary.append(("parameters", f"{metrics.cost.parameters:,}"))
    if metrics.controls:
        budget = metrics.budget
        label = budget.resource.replace("_", " ")
        summary.insert(1, (label, f"{_amount(budget.used)} (budget {_amount(budget.target)})"))
    if metrics.choices:
        summary.insert(0, ("found", ", ".join(choice.found for choice in metrics.choices)))
    if layer := metrics.retrieving_layer:
        label = f"planted chunks kept by layer {layer.layer}"
        summary.append((label, f"{number(layer.recall)} (precision {number(layer.precision)})"))
    return [*summary, (f"cache size at {LONG // 1024}k tokens", memory(metrics))]


def _amount(value: float) -> str:
    """Return a share with three digits, bytes and FLOPs in full."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
