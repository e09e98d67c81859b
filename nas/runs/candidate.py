"""One architecture that a searcher scored, as `candidates.json` and `metrics.json` have it."""

import math
from dataclasses import dataclass
from typing import Self

from nas.evaluation.metrics import merit
from nas.search_spaces.space import Code, Space, option_name


@dataclass(frozen=True)
class Candidate:
    """One architecture with the shared weights.

    Attributes:
        code: of the space.
        options: what each layer is, first to last.
        quality: figure of merit on the batches to choose by.
        loss: mean cross-entropy there, in nats.
        cost: relative to the dearest architecture, at the share of softmax chunks that its routers had there.
        seconds: that it took.
    """

    code: Code
    options: tuple[str, ...]
    quality: float
    loss: float
    cost: float
    seconds: float

    @classmethod
    def named(cls, space: Space, code: Code, quality: float, loss: float, cost: float, seconds: float) -> Self:
        """With the options of a code."""
        names = tuple(option_name(options[index]) for options, index in zip(space.options, code, strict=True))
        return cls(code, names, quality, loss, cost, seconds)

    def score(self, measure: str, within: bool) -> float:
        """What it is chosen by: its merit (`nas.evaluation.metrics.merit`); minus infinity if not within the budget."""
        return merit(measure, self.quality, self.loss) if within else -math.inf
