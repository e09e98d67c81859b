"""Routing of one sequence: what each routing head did, in numbers and in words."""

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from nas.report.data import RoutingMap

NEAR = 0.01
"""A head of which every weight is this near to one operation uses that operation alone."""

LINEAR_HEIGHT = 0.3
"""Height of a linear chunk's bar where a softmax chunk's is 1: told apart without colour."""


@dataclass(frozen=True)
class Row:
    """One routing head of one layer, over the N chunks of a sequence.

    Attributes:
        probability: [N] probability of softmax.
        weight: [N] weight actually used.
        planted: [N] whether the chunk holds planted content, or None.
    """

    layer: int
    head: int
    probability: list[float]
    weight: list[float]
    planted: list[bool] | None

    @property
    def name(self) -> str:
        return f"layer {self.layer} head {self.head}"

    @property
    def share(self) -> float:
        """Share of the chunks that went to softmax."""
        return sum(self.weight) / len(self.weight)

    @property
    def precision(self) -> float | None:
        """Of the chunks that went to softmax, the part that is planted; None where none went, or nothing is known."""
        return None if self.planted is None else _ratio(self._found, sum(self.weight))

    @property
    def recall(self) -> float | None:
        """Of the planted chunks, the part that went to softmax; None where none is planted."""
        return _ratio(self._found, sum(self.planted or []))

    @property
    def only(self) -> str | None:
        """The operation that every chunk went to, or None."""
        if max(self.weight) <= NEAR:
            return "linear"
        return "softmax" if min(self.weight) >= 1 - NEAR else None

    @property
    def _found(self) -> float:
        return sum(weight for weight, planted in zip(self.weight, self.planted or [], strict=False) if planted)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > NEAR else None


def rows(routing: RoutingMap) -> list[Row]:
    """Every routing head, by layer."""
    return [
        Row(layer, head, _clip(probability), _clip(routing.chosen[layer][head]), routing.planted)
        for layer in sorted(routing.layers)
        for head, probability in enumerate(routing.layers[layer])
    ]


def _clip(values: list[float]) -> list[float]:
    return [min(1.0, max(0.0, value)) for value in values]


def mean_share(given: list[Row]) -> float:
    """Share of the chunks that went to softmax, over all layers and heads."""
    return sum(row.share for row in given) / len(given)


def uniform_heads(given: list[Row]) -> list[str]:
    """A sentence for every layer with heads that use one operation alone."""
    sentences = []
    for layer, group in groupby(given, key=attrgetter("layer")):
        heads = list(group)
        for operation in ("softmax", "linear"):
            alone = [row.head for row in heads if row.only == operation]
            if alone:
                sentences.append(f"{_subject(layer, alone, len(heads))} every chunk to {operation}.")
    return sentences


def _subject(layer: int, alone: list[int], heads: int) -> str:
    if len(alone) == 1:
        return f"Layer {layer} head {alone[0]} sends"
    if len(alone) == heads:
        return f"{'Both' if heads == 2 else f'All {heads}'} heads of layer {layer} send"
    return f"Layer {layer} heads {', '.join(map(str, alone[:-1]))} and {alone[-1]} send"
