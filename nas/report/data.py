"""What a report is made of: plain values that any command can fill in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nas.report.diagram import Stack

TOLERANCE = 1e-3
"""How far outside [0, 1] rounding may put a probability or a weight."""


class Reader(NamedTuple):
    """A later token that attends to a chunk: its position, and the part of its attention that the chunk gets."""

    token: int
    weight: float


@dataclass(frozen=True)
class RoutingMap:
    """Which chunks of one sequence went to softmax.

    Attributes:
        tokens: text of each of T tokens.
        chunk_size: tokens in a chunk; N = ceil(T / chunk_size) chunks, the last may be short.
        layers: layer index -> [routing head][chunk], probability of softmax in [0, 1].
        chosen: layer index -> [routing head][chunk], the weight actually used, 0 or 1 or between.
        planted: whether each chunk holds planted content; None where it is not known.
        decided_in: layer index -> tokens in a chunk as the layer's router sees it, a multiple of ``chunk_size``; that
            where a layer is not in it.
        readers: layer index -> [routing head][chunk], the later tokens that attend to the chunk most by the softmax
            branch, most first; empty where they were not looked for.

    Raises:
        ValueError: nothing is routed, two fields do not fit, or a number is outside [0, 1].
    """

    tokens: list[str]
    chunk_size: int
    layers: dict[int, list[list[float]]]
    chosen: dict[int, list[list[float]]]
    planted: list[bool] | None
    decided_in: dict[int, int] = field(default_factory=dict)
    readers: dict[int, list[list[list[Reader]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tokens or not self.layers:
            raise ValueError("tokens or layers is empty; where nothing is routed, give None in place of a RoutingMap.")
        if self.chunk_size < 1:
            raise ValueError(f"chunk_size={self.chunk_size} is not allowed; it must be at least 1.")
        if self.planted is not None and len(self.planted) != self.chunks:
            raise ValueError(f"planted has {len(self.planted)} chunks; {self._expected()}.")
        if shape(self.layers) != shape(self.chosen):
            raise ValueError(f"layers has heads {shape(self.layers)} and chosen {shape(self.chosen)}; give the same.")
        self._check("layers", self.layers)
        self._check("chosen", self.chosen)

    @property
    def chunks(self) -> int:
        """N, the number of chunks."""
        return -(-len(self.tokens) // self.chunk_size)

    def _expected(self) -> str:
        return f"{len(self.tokens)} tokens in chunks of {self.chunk_size} make {self.chunks}"

    def _check(self, name: str, values: dict[int, list[list[float]]]) -> None:
        for layer, heads in values.items():
            for head, row in enumerate(heads):
                if len(row) != self.chunks:
                    raise ValueError(f"{name}[{layer}][{head}] has {len(row)} chunks; {self._expected()}.")
                for value in row:
                    if not -TOLERANCE <= value <= 1 + TOLERANCE:  # true of NaN too
                        raise ValueError(f"{name}[{layer}][{head}] has {value}; it must be between 0 and 1.")


def shape(values: dict[int, list[list[float]]]) -> dict[int, int]:
    """Routing heads of each layer."""
    return {layer: len(heads) for layer, heads in values.items()}


@dataclass(frozen=True)
class Snapshot:
    """The routing of one sequence during training, in little room.

    Attributes:
        step: after which it was taken.
        chunk_size: tokens in a chunk.
        layers: layer index -> [routing head], one byte a chunk: the probability of softmax as `code` has it.
    """

    step: int
    chunk_size: int
    layers: dict[int, list[bytes]]


CODES = 254
"""Probabilities are told apart in so many steps of a byte."""


def code(probability: float) -> int:
    """The byte of a probability: in the upper half of `CODES` exactly where it is at least a half."""
    return max(0, min(CODES - 1, int(CODES * probability)))


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
