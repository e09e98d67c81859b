"""What the report of one run shows, from the figures that its `metrics.json` has."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nas.budget.cost import LONG
from nas.data import Task
from nas.evaluation.routing_map import RoutingMap
from nas.report.data import ReportData
from nas.report.diagram import stacks_of
from nas.report.units import number
from nas.runs.folder import Run, command_line
from nas.runs.history import history
from nas.runs.snapshots import map_of, read_snapshots


def report_of(
    run: Run, metrics: Mapping[str, Any], quality: str, routing: RoutingMap | None, notes: list[str]
) -> ReportData:
    """The report of a run.

    Args:
        run: its folder, whose curves and snapshots are shown.
        metrics: its figures as `metrics.json` has them; empty where it has none yet.
        quality: its figure of merit.
        routing: of one sequence.
        notes: what a reader must not miss.
    """
    return ReportData(
        title=run.path.resolve().name,
        summary=_summary(metrics) if metrics else [],
        quality=quality,
        comparison=cells(metrics) if metrics else [],
        history=history(run),
        routing=routing,
        notes=notes,
        command=command_line(),
        snapshots=read_snapshots(run),
        stacks=stacks_of(run.path),
    )


def with_latest_routing(data: ReportData, task: Task) -> ReportData:
    """A report with the routing of its latest snapshot, where it has snapshots but no routing after training.

    That is so where a run is not finished, and where layers routed on the way of which the search chose none.
    """
    if data.routing is not None or not data.snapshots:
        return data
    *earlier, latest = data.snapshots
    try:
        return replace(data, routing=map_of(latest, task), routing_at=latest.step, snapshots=earlier)
    except ValueError:  # of another sequence: the data is not what it was
        return replace(data, snapshots=[])


def cells(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The closing table: what each row is, its share, and its quality by length."""
    measure = metrics["quality"].replace("_", " ")
    return [_row(name, figures, measure) for name, figures in metrics["routings"].items()]


def _row(name: str, by_length: Mapping[str, Any], measure: str) -> dict[str, str]:
    row = {"model": name, "softmax share": number(by_length["1x"]["share"])}
    for factor, figures in by_length.items():
        row[measure if factor == "1x" else f"at {factor} length"] = number(figures["quality"])
    return row


def memory(metrics: Mapping[str, Any]) -> str:
    """What a sequence of `LONG` tokens keeps."""
    return f"{metrics['cost']['kv_bytes'][str(LONG)] / 2**20:.2f} MiB"


def _summary(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each headline figure."""
    best = next(iter(metrics["routings"].values()))["1x"]
    summary = [(metrics["quality"].replace("_", " "), number(best["quality"]))]
    summary.append(("parameters", f"{metrics['cost']['parameters']:,}"))
    if len(metrics["routings"]) > 1:
        spent = metrics["budget"]
        label = spent["resource"].replace("_", " ")
        summary.insert(1, (label, f"{_amount(spent['used'])} (budget {_amount(spent['target'])})"))
    if metrics["choices"]:
        summary.insert(0, ("found", ", ".join(choice["found"] for choice in metrics["choices"])))
    if found := metrics["retrieving_layer"]:
        label = f"planted chunks found by layer {found['layer']}"
        summary.append((label, f"{number(found['recall'])} (precision {number(found['precision'])})"))
    return [*summary, (f"memory at {LONG // 1024}k tokens", memory(metrics))]


def _amount(value: float | None) -> str:
    """A share with three digits, bytes and FLOPs in full."""
    value = math.nan if value is None else value
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
