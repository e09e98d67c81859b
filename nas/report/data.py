"""Content of a report, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.evaluation.routing_map import RoutingMap, Snapshot
from nas.report.diagram import Stack
from nas.runs.titles import Heading


@dataclass(frozen=True)
class ReportData:
    """The content of `report.html`.

    Attributes:
        title: title of the page, for example "token_hybrid on recall".
        summary: label and value of each headline figure, for example ("softmax share", "0.034 (budget 0.035)").
        quality: name of the figure of merit, for example "recall" or "bits_per_byte".
        comparison: rows of the final table, all with the same keys. The first column is the name of the row, the first
            row is the searched model. May be empty.
        history: one dict per logged step: always "step", and any of "loss", the quality, "share", "target",
            "multiplier", "validation_" + quality, "validation_planted_precision" and "validation_planted_recall"; for
            searchable layers also "probability/layer_<index>/<option>".
        routing: routing of one sequence; None if no layer routes.
        notes: sentences to show above the figures, for example "Stopped at step 300 of 1500."
        command: command line of the run.
        snapshots: routing of the sequence of ``routing`` during training, by step. May be empty.
        compared: another run whose headline figures and routing are shown beside this one's; None for none.
        routing_at: training step of ``routing``; None for the routing after training.
        stacks: layers of the run's architecture, and of hand-designed hybrids. May be empty.
        provenance: labels and values of what made the run, see `nas.runs.provenance`. May be empty.
        differences: name and both values of all that differs between this run and the compared run.
        folder: name of the run folder; empty if it is not known.
        started: date and time of the start; empty if it is not known.
        answer: sentences of the first paragraph: what was found, its quality against its controls, and its cost.
        together: sentences that compare this run with the compared run.
        ahead: whether the searched model is better than its control by more than the noise, so that its row is bold.
        alignment: logged errors of the alignment, as ``history`` has the scalars of the training. May be empty.
        healing: the same of the healing: errors of the hidden states by layer, and the divergence. May be empty.
        by_position: rows of the table of the searched model by position in the sequence. May be empty.
        candidates: rows of the table of architectures that were trained alone and compared. May be empty.
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
    provenance: Sequence[tuple[str, str]] = ()
    differences: Sequence[tuple[str, str, str]] = ()
    folder: str = ""
    started: str = ""
    answer: Sequence[str] = ()
    together: Sequence[str] = ()
    ahead: bool = False
    by_position: list[dict[str, str]] = field(default_factory=list)
    alignment: list[dict[str, float]] = field(default_factory=list)
    candidates: list[dict[str, str]] = field(default_factory=list)
    healing: list[dict[str, float]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """The line below the title: run folder and start; empty if the folder is not known."""
        return Heading(self.title, self.folder, self.started).origin if self.folder else ""
