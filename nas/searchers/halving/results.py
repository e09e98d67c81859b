"""What the candidates of successive halving have shown at each rung, stored in the run folder as it is known."""

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from nas.runs.decode import decode
from nas.runs.folder import Run
from nas.search_spaces.space import Code
from nas.supernet.architecture_logits import TOLERANCE

RUNGS = "rungs.json"
"""File with the results of all candidates at all rungs, and with the architecture that was selected."""


@dataclass(frozen=True)
class Result:
    """A candidate at a rung.

    Attributes:
        number: number of the candidate, from 0.
        code: code of the architecture in the space of the search.
        options: name of the option of each layer, first to last.
        step: training step.
        merits: merit (`nas.evaluation.metrics.merit`) on selection batches by length factor.
        quality: quality at the training length.
        loss: mean cross-entropy at the training length, in nats.
        cost: cost relative to the most expensive architecture, at the softmax shares measured on the selection batches.
        excess: relative cost over the budget; 0 or less if within it.
        training_seconds: wall time of its training so far.
        tokens: its training tokens so far.
        training_flops: FLOPs of its training so far.
        seconds: wall time of the evaluation.
        restart: number of its initial weights, from 0.
    """

    number: int
    code: Code
    options: tuple[str, ...]
    step: int
    merits: dict[int, float]
    quality: float
    loss: float
    cost: float
    excess: float
    training_seconds: float
    tokens: int
    training_flops: float
    seconds: float
    restart: int = 0

    @property
    def score(self) -> float:
        """The mean merit over the lengths, larger is better; minus infinity if the training diverged."""
        return fmean(merit if math.isfinite(merit) else -math.inf for merit in self.merits.values())


class Results:
    """All results of a run, including those from before a resumption; UserError if their file is damaged."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._found: dict[tuple[int, int], Result] = {}
        self.selected: int | None = None
        """Number of the selected candidate, whose training is that of the run from then on."""
        run.stored(RUNGS, self._read, "to compare the candidates of this run again")

    def _read(self, given: Any) -> None:
        self.selected = decode(int | None, given["selected"], "selected")
        for one in decode(list[Result], given["results"], "results"):
            self._found[one.number, one.step] = one

    @property
    def every(self) -> list[Result]:
        """All results, in the order in which they were measured."""
        return list(self._found.values())

    @property
    def latest(self) -> dict[int, Result]:
        """The result of each candidate at its last rung, by number."""
        return {one.number: one for one in sorted(self.every, key=lambda one: one.step)}

    @property
    def steps(self) -> int:
        """The training steps of all candidates together, up to their last rungs."""
        return sum(one.step for one in self.latest.values())

    def get(self, number: int, step: int) -> Result | None:
        """Return the result of a candidate at a step; None if it is not known."""
        return self._found.get((number, step))

    def add(self, result: Result) -> None:
        """Add a result and store it."""
        self._found[result.number, result.step] = result
        self._write()

    def select(self, number: int) -> None:
        """Store which candidate is selected."""
        self.selected = number
        self._write()

    def _write(self) -> None:
        self._run.write_json(RUNGS, {"selected": self.selected, "results": [asdict(one) for one in self.every]})


def best(results: Collection[Result], keep: int, last: bool) -> list[Result]:
    """Return the results that go on, the best first.

    Args:
        results: results at one rung.
        keep: how many go on.
        last: whether this is the end of training, where what is within the budget, up to `TOLERANCE`, precedes
            what is not.
    """
    return sorted(results, key=lambda one: (last and one.excess > TOLERANCE, -one.score, one.cost))[:keep]
