"""Agreement of routes with planted chunks: counts, precision and recall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Found:
    """Precision and recall of planted chunks; nan if the denominator is 0."""

    precision: float
    recall: float


class Counts(NamedTuple):
    """Numbers of chunks, or their means over processes.

    Attributes:
        hits: planted chunks that the route keeps.
        routed: chunks that the route keeps.
        planted: planted chunks.
    """

    hits: float
    routed: float
    planted: float

    @classmethod
    def of(cls, routed: Tensor, planted: Tensor) -> "Counts":
        """Count the chunks of ``routed`` and ``planted``, bool tensors of the same shape."""
        return cls(*(int(chunks.sum()) for chunks in (routed & planted, routed, planted)))

    @property
    def found(self) -> Found:
        """Precision and recall that follow from the counts."""
        return Found(
            precision=self.hits / self.routed if self.routed else math.nan,
            recall=self.hits / self.planted if self.planted else math.nan,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without routed and planted chunks."""
        both = self.routed + self.planted
        return 2 * self.hits / both if both else 0.0


def most_found(layers: Sequence[Counts]) -> Found:
    """Return precision and recall of the layer with the largest F1; the first of equal layers.

    Neither figure alone selects a layer that finds planted chunks. Recall is 1 in a layer that keeps every chunk, and
    precision can be 1 in a layer that keeps a single chunk.
    """
    return max(layers, key=lambda counts: counts.f1).found
