"""Routing of one sequence: what each routing head did, in numbers and in words."""

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from operator import attrgetter

from nas.evaluation.routing_map import RoutingMap

NEAR = 0.01
"""A head of which every weight is this near to one operation uses that operation alone."""

UNDECIDED = 0.95
"""Bits of entropy from which on a head's choices are close to a coin's; one bit is a coin's."""

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
    def entropy(self) -> float:
        """Mean over the chunks of the entropy of softmax or linear, in bits: 0 where all are sure, 1 a coin's."""
        return sum(map(_bits, self.probability)) / len(self.probability)

    @property
    def precision(self) -> float | None:
        """Of the chunks that went to softmax, the part that is planted; None where none went, or nothing is known."""
        return None if self.planted is None else _ratio(self._found, sum(self.weight))

    @property
    def recall(self) -> float | None:
        """Of the planted chunks, the part that went to softmax; None where none is planted."""
        return _ratio(self._found, sum(self.planted or []))

    @property
    def keeps(self) -> bool | None:
        """Whether every chunk is kept; None if some are and others are not."""
        if max(self.weight) <= NEAR:
            return False
        return True if min(self.weight) >= 1 - NEAR else None

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


def two_decimals(value: float | None) -> str:
    """A figure, or a dash where there is none; halves are rounded up, as the page's script does."""
    return "\N{EN DASH}" if value is None else str(Decimal(value).quantize(Decimal("0.01"), ROUND_HALF_UP))


def mean_share(given: list[Row]) -> float:
    """Share of the chunks that went to softmax, over all layers and heads."""
    return sum(row.share for row in given) / len(given)


def findings(given: list[Row]) -> list[str]:
    """Sentences on the heads of each layer that choose nothing: dead, collapsed or undecided ones.

    None where the sequence is a single chunk, of which nothing can be told.
    """
    if len(given[0].weight) < 2:
        return []
    sentences = []
    for layer, group in groupby(given, key=attrgetter("layer")):
        heads = list(group)
        for keeps, operation, what in ((False, "linear", "Dead"), (True, "softmax", "Collapsed")):
            if alone := [row.head for row in heads if row.keeps is keeps]:
                subject, verb = _subject(layer, alone, len(heads))
                sentences.append(f"{what}: {subject} {verb} every chunk to {operation}.")
        for same in _alike([row for row in heads if row.keeps is None]):
            subject, verb = _subject(layer, same, len(heads))
            sentences.append(f"Collapsed: {subject} {verb} the same chunks to softmax.")
        if undecided := [row.head for row in heads if row.entropy >= UNDECIDED]:
            subject, _ = _subject(layer, undecided, len(heads))
            has = "has" if len(undecided) == 1 else "have"
            sentences.append(f"Undecided: {subject} {has} an entropy of {UNDECIDED} bits or more, of at most 1.")
    return sentences


def _alike(heads: list[Row]) -> list[list[int]]:
    """Groups of two or more heads that treat every chunk the same."""
    groups: list[list[Row]] = []
    for row in heads:
        for group in groups:
            if all(abs(a - b) <= NEAR for a, b in zip(row.weight, group[0].weight, strict=True)):
                group.append(row)
                break
        else:
            groups.append([row])
    return [[row.head for row in group] for group in groups if len(group) > 1]


def _subject(layer: int, some: list[int], heads: int) -> tuple[str, str]:
    """These heads of a layer, and what they do with chunks."""
    if len(some) == 1:
        return f"layer {layer} head {some[0]}", "sends"
    if len(some) == heads:
        return f"{'both' if heads == 2 else f'all {heads}'} heads of layer {layer}", "send"
    return f"layer {layer} heads {', '.join(map(str, some[:-1]))} and {some[-1]}", "send"


def _bits(probability: float) -> float:
    """Entropy of a choice between two, in bits."""
    return -sum(p * math.log2(p) for p in (probability, 1 - probability) if p > 0)
