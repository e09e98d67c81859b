"""How well routes find planted chunks: counts, precision and recall."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Found:
    """How a route agrees with the planted chunks: precision and recall, each nan where there is nothing to count."""

    precision: float
    recall: float


class Counts(NamedTuple):
    """How many chunks a route and the planted chunks have in common, and each alone; averages over processes too."""

    hits: float
    routed: float
    planted: float

    @classmethod
    def of(cls, routed: Tensor, planted: Tensor) -> "Counts":
        """Both bool of one shape."""
        return cls(*(int(chunks.sum()) for chunks in (routed & planted, routed, planted)))

    @property
    def found(self) -> Found:
        """What they say of how well the route finds."""
        return Found(
            precision=self.hits / self.routed if self.routed else math.nan,
            recall=self.hits / self.planted if self.planted else math.nan,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is nothing to count."""
        both = self.routed + self.planted
        return 2 * self.hits / both if both else 0.0


def most_found(layers: Sequence[Counts]) -> Found:
    """Precision and recall of the layer of the largest F1, the first of equals.

    By F1 because either figure alone is at its best in a layer that finds nothing: recall where every chunk is kept,
    precision where a single one is.
    """
    return max(layers, key=lambda counts: counts.f1).found
