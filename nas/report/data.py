"""What a report is made of: plain values that any command can fill in."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.evaluation.routing_map import RoutingMap, Snapshot
from nas.report.diagram import Stack


@dataclass(frozen=True)
class ReportData:
    """Everything that `report.html` shows.

    Attributes:
        title: what was run, for example "token_hybrid on recall".
        summary: label and value of each headline figure, for example ("softmax share", "0.034 (budget 0.035)").
        quality: name of the figure of merit, for example "recall" or "bits_per_byte".
        comparison: rows of the closing table, each with the same keys; the first column names the row, the first
            row is the searched model. May be empty.
        history: one dict per logged step: always "step", and any of "loss", the quality, "share", "target",
            "multiplier", "validation_" + quality, "validation_planted_precision" and "validation_planted_recall";
            where layers choose, "probability/layer_<index>/<option>" too.
        routing: the routing of one sequence; None where no layer has a router.
        notes: sentences that a reader must not miss, for example "Interrupted at step 300 of 1500."
        command: the command line that made the run.
        snapshots: the routing of the sequence of ``routing`` during training, by step. May be empty.
        compared: another run to be shown beside this one, of which the headline figures and the routing count.
        routing_at: the step of training that ``routing`` is of; None for that after training.
        stacks: the layers of what was found, and of hybrids designed by hand beside it. May be empty.
    """

    title: str
    summary: list[tuple[str, str]]
    quality: str
    comparison: list[dict[str, str]]
    history: list[dict[str, float]]
    routing: RoutingMap | None
    notes: list[str]
    command: str
    snapshots: list[Snapshot] = field(default_factory=list)
    compared: "ReportData | None" = None
    routing_at: int | None = None
    stacks: Sequence[Stack] = ()
