"""Content of the report of one run, from its metrics and its run folder."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nas.budget.cost import CONTEXTS, FLOPS, KV_BYTES, LONG, SOFTMAX_SHARE
from nas.data import Task
from nas.evaluation.routing_map import RoutingMap
from nas.latency.table import LATENCY
from nas.report.data import ReportData
from nas.report.diagram import stacks_of
from nas.report.units import MISSING, context, count, number, repeated, size, tokens
from nas.results.answer import answer, cache
from nas.runs.folder import ALIGNMENT, HEALING, Run, command_line
from nas.runs.history import history
from nas.runs.metrics import BudgetUse, Metrics, Row
from nas.runs.provenance import provenance
from nas.runs.snapshots import map_of, read_snapshots
from nas.runs.titles import heading
from nas.searchers.halving.results import Results

LOSS = "loss per token"
"""Label of the loss at the training length, in nats, where tokens have different numbers of bytes."""
CACHE = f"cache at {context(LONG)} tokens"
"""Heading of the cache sizes."""
FAR = CONTEXTS[1]
"""Context length, in tokens, of the FLOPs per token in headlines."""


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
    config, head = run.config(), heading(run.path)
    length: int = config["data"]["length"]
    return ReportData(
        title=head.title,
        summary=[] if metrics is None else _summary(metrics, length, config["budget"]),
        quality=quality,
        comparison=[] if metrics is None else cells(metrics, length),
        by_position=[] if metrics is None else positions(metrics),
        candidates=trained_alone(run, quality),
        history=history(run),
        alignment=history(Run(run.path / ALIGNMENT)),
        healing=history(Run(run.path / HEALING)),
        routing=routing,
        notes=notes,
        command=command_line(),
        snapshots=read_snapshots(run),
        stacks=stacks_of(run.path),
        provenance=provenance(run.path),
        folder=head.folder,
        started=head.started,
        answer=[] if metrics is None else answer(metrics, length),
        ahead=metrics is not None and metrics.ahead,
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


def cells(metrics: Metrics, length: int | None = None) -> list[dict[str, str]]:
    """Return the rows of the final table: name, softmax share, quality by length, and the loss if it is another figure.

    Beside the pretrained model that a search started from, each row has its cache size too.

    Args:
        metrics: final figures of a run.
        length: length of a training sequence in tokens, for headings with lengths; None for headings with multiples.
    """
    headings = _headings(metrics, length)
    return [
        {"model": row.name, "softmax share": number(row.at_training_length.share)}
        | {heading: _quality_at(row, factor) for factor, heading in headings.items()}
        | ({} if row.at_training_length.loss_by_position is None else {LOSS: number(row.at_training_length.loss)})
        | ({} if metrics.original is None else {CACHE: _cache_of(row)})
        for row in metrics.rows
    ]


def _quality_at(row: Row, factor: int) -> str:
    return number(row.by_factor[factor].quality) if factor in row.by_factor else MISSING


def _cache_of(row: Row) -> str:
    bytes_ = row.at_training_length.kv_bytes
    return MISSING if bytes_ is None else size(bytes_)


def positions(metrics: Metrics) -> list[dict[str, str]]:
    """Return the rows of the table by position: the searched model's figures in each segment of the longest sequences.

    There are none for a quality that is not in bits.
    """
    longest = metrics.learnt.by_factor[max(metrics.learnt.by_factor)]
    losses = dict(longest.loss_by_position or [])
    rows, start = [], 0
    for end, bits in longest.by_position or []:
        row = {"tokens": f"{start:,} to {end - 1:,}", metrics.quality.replace("_", " "): number(bits)}
        rows.append(row | ({LOSS: number(losses[end])} if losses else {}))
        start = end
    return rows


def trained_alone(run: Run, quality: str) -> list[dict[str, str]]:
    """Return the rows of the table of architectures that were trained alone, the one that got furthest first.

    Each has its figures at its last rung; there are none for other searchers.
    """
    results = Results(run)
    ranked = sorted(results.latest.values(), key=lambda one: (one.number != results.selected, -one.step, -one.score))
    restarted = any(one.restart for one in ranked)
    return [
        {"architecture": repeated(one.options) + (f" (start {one.restart + 1})" if restarted else "")}
        | {"trained to step": str(one.step)}
        | {f"{quality.replace('_', ' ')} at {factor}x": number(abs(merit)) for factor, merit in one.merits.items()}
        | {"relative cost": number(one.cost)}
        for one in ranked
    ]


def _headings(metrics: Metrics, length: int | None) -> dict[int, str]:
    """Return the heading of the quality at each length factor."""
    measure = metrics.quality.replace("_", " ")
    if length is None:
        return {factor: measure if factor == 1 else f"at {factor}x length" for factor in metrics.learnt.by_factor}
    return {factor: f"{measure} at {tokens(length, factor)}" for factor in metrics.learnt.by_factor}


def memory(metrics: Metrics) -> str:
    """Return the cache size of a sequence of `LONG` tokens, as text."""
    return cache(metrics) or MISSING


def _summary(metrics: Metrics, length: int, limited: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the label, with lengths and units, and the value of each headline figure.

    Args:
        metrics: final figures of a run.
        length: length of a training sequence, in tokens.
        limited: options of the budget.
    """
    headings, qualities = _headings(metrics, length), metrics.learnt.by_factor
    summary = [("found", repeated(choice.found for choice in metrics.choices))] if metrics.choices else []
    summary += [(headings[factor], number(qualities[factor].quality)) for factor in dict.fromkeys((1, max(qualities)))]
    if metrics.learnt.at_training_length.loss_by_position is not None:
        summary.append((f"{LOSS} at {tokens(length, 1)}", f"{number(metrics.learnt.at_training_length.loss)} nats"))
    share = metrics.learnt.at_training_length.share
    summary += _budget(metrics.budget, limited) if metrics.controls else []
    if not metrics.controls or metrics.budget.resource != SOFTMAX_SHARE:
        summary.append(("softmax share", number(share)))
    summary.append(("parameters", count(metrics.cost.parameters)))
    if layer := metrics.retrieving_layer:
        label = f"share of planted chunks kept by layer {layer.layer}"
        summary.append((label, f"{number(layer.recall)} (precision {number(layer.precision)})"))
    flops = metrics.cost.flops_per_token.get(FAR)
    summary.append((f"FLOPs per token at {context(FAR)} tokens", MISSING if flops is None else count(flops)))
    return [*summary, (f"cache size at {context(LONG)} tokens", memory(metrics))]


def _budget(budget: BudgetUse, limited: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the label of a budget with its context length, and the cost of the model with the budget."""
    label, show = RESOURCES[budget.resource]
    shown = label.format(at=context(limited["context"]), phase=limited.get("phase"))
    return [(shown, f"{show(budget.used)} (budget {show(budget.target)})")]


def _three_digits(share: float) -> str:
    return f"{share:.3g}"


def _milliseconds(latency: float) -> str:
    return f"{latency:.3g} ms"


RESOURCES: dict[str, tuple[str, Callable[[float], str]]] = {
    SOFTMAX_SHARE: ("softmax share", _three_digits),
    KV_BYTES: ("budgeted cache size at {at} tokens", size),
    FLOPS: ("budgeted FLOPs per token at {at} tokens", count),
    LATENCY: ("budgeted latency of {phase} at {at} tokens", _milliseconds),
}
"""Label and format of the resources of `nas.budget.cost.UNITS`."""
