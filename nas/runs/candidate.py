"""An architecture that a searcher scored, as stored in `candidates.json` and `metrics.json`."""

import math
from dataclasses import dataclass
from typing import Self

from nas.evaluation.metrics import merit
from nas.search_spaces.space import Code, Space


@dataclass(frozen=True)
class Candidate:
    """An architecture and its figures with the shared weights.

    Attributes:
        code: code of the architecture in its space.
        options: name of the option of each layer, first to last.
        quality: figure of merit on the selection batches.
        loss: mean cross-entropy on the selection batches, in nats.
        cost: cost relative to the most expensive architecture, at the softmax shares measured on the selection batches.
        seconds: wall time of the evaluation.
    """

    code: Code
    options: tuple[str, ...]
    quality: float
    loss: float
    cost: float
    seconds: float

    @classmethod
    def named(cls, space: Space, code: Code, quality: float, loss: float, cost: float, seconds: float) -> Self:
        """Make the candidate of a code, with the names of its options."""
        return cls(code, space.names(code), quality, loss, cost, seconds)

    def score(self, measure: str, within: bool) -> float:
        """Return the merit (`nas.evaluation.metrics.merit`); minus infinity if not within the budget."""
        return merit(measure, self.quality, self.loss) if within else -math.inf
