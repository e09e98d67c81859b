"""Figures and findings on the routing heads of one sequence."""

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from operator import attrgetter

from nas.evaluation.routing_map import RoutingMap

NEAR = 0.01
"""Tolerance of weights: a head uses one operation only if every weight is this near to it."""

UNDECIDED = 0.95
"""Entropy in bits from which a head counts as undecided; 1 bit is a fair coin."""

LINEAR_HEIGHT = 0.3
"""Height of a linear chunk's bar relative to a softmax chunk's, to distinguish them without colour."""


@dataclass(frozen=True)
class Row:
    """A routing head of a layer, over the N chunks of a sequence.

    Attributes:
        probability: [N] probability of softmax.
        weight: [N] route that the model used.
        planted: [N] whether the chunk contains planted content; None if the task plants nothing.
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
        """Softmax share of the head."""
        return sum(self.weight) / len(self.weight)

    @property
    def entropy(self) -> float:
        """Mean entropy of the probability over the chunks, in bits: 0 for certain choices, 1 for a fair coin."""
        return sum(map(_bits, self.probability)) / len(self.probability)

    @property
    def precision(self) -> float | None:
        """Share of planted chunks among the softmax chunks; None without softmax chunks or without planting."""
        return None if self.planted is None else _ratio(self._found, sum(self.weight))

    @property
    def recall(self) -> float | None:
        """Share of softmax chunks among the planted chunks; None without planted chunks."""
        return _ratio(self._found, sum(self.planted or []))

    @property
    def keeps(self) -> bool | None:
        """True if every chunk is kept, False if none is kept, otherwise None."""
        if max(self.weight) <= NEAR:
            return False
        return True if min(self.weight) >= 1 - NEAR else None

    @property
    def _found(self) -> float:
        return sum(weight for weight, planted in zip(self.weight, self.planted or [], strict=False) if planted)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > NEAR else None


def rows(routing: RoutingMap) -> list[Row]:
    """Return all routing heads, sorted by layer."""
    return [
        Row(layer, head, _clip(probability), _clip(routing.chosen[layer][head]), routing.planted)
        for layer in sorted(routing.layers)
        for head, probability in enumerate(routing.layers[layer])
    ]


def _clip(values: list[float]) -> list[float]:
    return [min(1.0, max(0.0, value)) for value in values]


def two_decimals(value: float | None) -> str:
    """Return a figure as text, a dash for None; halves are rounded up, as in the page's script."""
    return "\N{EN DASH}" if value is None else str(Decimal(value).quantize(Decimal("0.01"), ROUND_HALF_UP))


def mean_share(given: list[Row]) -> float:
    """Return the softmax share over all layers and heads."""
    return sum(row.share for row in given) / len(given)


def findings(given: list[Row]) -> list[str]:
    """Return sentences on dead, collapsed and undecided heads of each layer.

    The list is empty if the sequence is a single chunk, which shows nothing on choices.
    """
    if len(given[0].weight) < 2:
        return []
    sentences = []
    for layer, group in groupby(given, key=attrgetter("layer")):
        heads = list(group)
        for keeps, operation, state in ((False, "linear", "Dead"), (True, "softmax", "Collapsed")):
            if alone := [row.head for row in heads if row.keeps is keeps]:
                subject, verb = _subject(layer, alone, len(heads))
                sentences.append(f"{state}: {subject} {verb} every chunk to {operation}.")
        for same in _alike([row for row in heads if row.keeps is None]):
            subject, verb = _subject(layer, same, len(heads))
            sentences.append(f"Collapsed: {subject} {verb} the same chunks to softmax.")
        if undecided := [row.head for row in heads if row.entropy >= UNDECIDED]:
            subject, _ = _subject(layer, undecided, len(heads))
            has = "has" if len(undecided) == 1 else "have"
            sentences.append(f"Undecided: {subject} {has} an entropy of {UNDECIDED} bits or more, of at most 1.")
    return sentences


def _alike(heads: list[Row]) -> list[list[int]]:
    """Return the groups of two or more heads with the same routes."""
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
    """Return the subject and the verb of a sentence on these heads of a layer."""
    if len(some) == 1:
        return f"layer {layer} head {some[0]}", "sends"
    if len(some) == heads:
        return f"{'both' if heads == 2 else f'all {heads}'} heads of layer {layer}", "send"
    return f"layer {layer} heads {', '.join(map(str, some[:-1]))} and {some[-1]}", "send"


def _bits(probability: float) -> float:
    """Return the entropy of a probability, in bits."""
    return -sum(p * math.log2(p) for p in (probability, 1 - probability) if p > 0)
