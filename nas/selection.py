"""After the training: a searcher chooses an architecture by how candidates score with the shared weights."""

import math
import time
from dataclasses import dataclass
from random import Random

from rich.console import Console

from nas.callbacks import TwoLines
from nas.candidates import Candidate, Candidates
from nas.choices import TOLERANCE, paths_of
from nas.config import RandomConfig, SearchConfig
from nas.data import Batch
from nas.data.seeding import stable_seed
from nas.evaluation import evaluate, mean_share
from nas.module import TrainingModule
from nas.run import Run
from nas.searchers import find_searcher
from nas.searchers.draws import LISTED, Excess
from nas.space import Code

LINES = 10
"""Lines about the progress where nobody watches."""


@dataclass(frozen=True)
class Searched:
    """What a searcher did.

    Attributes:
        searcher: its name.
        evaluations: how many different architectures were scored.
        best: the one it chose, as it was measured on the batches to choose by; None where none kept to the limit.
        limit: on the cost, relative to the dearest architecture.
        seconds: of all evaluations.
    """

    searcher: str
    evaluations: int
    best: Candidate | None
    limit: float
    seconds: float


def select(module: TrainingModule, run: Run, console: Console) -> Searched | None:
    """Let the searcher of the config choose what the search found; None where the logits of layers already did.

    The way of a search follows from the seed and the scores, so one that was killed takes the same way again, with the
    candidates that it had scored already.
    """
    config = module.config
    assert isinstance(config, SearchConfig)
    if not isinstance(config.searcher, RandomConfig) or module.budget.dense:
        return None
    candidates, limit = Candidates(run, module.space), module.budget.target + TOLERANCE
    random = Random(stable_seed(config.seed, "searcher", config.searcher.name))
    search, excess = find_searcher(config.searcher.name), _excess(module, limit)
    with module.autocast(), _Progress(module, console, excess, limit, config.searcher.evaluations) as progress:
        batches = module.task.selection_batches(config.searcher.batches)

        def score(code: Code) -> float:
            if (candidate := candidates.get(code)) is None:
                candidate = measure(module, code, batches)
                candidates.add(candidate)
            progress.show(candidate)
            return candidate.score(module.task.quality, limit)

        scores = search(module.space, score, excess, config.searcher, random)
    scored = [candidate for code in scores if (candidate := candidates.get(code)) is not None]
    best = max(scored, key=lambda candidate: candidate.score(module.task.quality, limit), default=None)
    within = best is not None and scores[best.code] > -math.inf
    if best is not None and not within:
        best = min(scored, key=lambda candidate: candidate.cost)
    module.chosen = None if best is None else best.code
    seconds = sum(candidate.seconds for candidate in scored)
    return Searched(config.searcher.name, len(scored), best if within else None, limit, seconds)


def measure(module: TrainingModule, code: Code, batches: list[Batch]) -> Candidate:
    """An architecture of the space with the shared weights: its quality, its loss, and what it cost, on ``batches``."""
    started = time.monotonic()
    result = evaluate(module.model, batches, module.task.quality, module.policy, paths_of(code))
    shares = {layer: mean_share({layer: heads}) for layer, heads in result.shares.items()}
    cost, seconds = module.cost.relative(module.cost.of(code, shares)), time.monotonic() - started
    return Candidate.named(module.space, code, result.quality, result.loss, cost, seconds)


def _excess(module: TrainingModule, limit: float) -> Excess:
    """By how much an architecture is over the limit, at the shares that its routers had in training."""
    costs, fixed = module.choices.costs(module.cost), module.cost.relative(module.cost.fixed)
    return lambda code: fixed + sum(each[option] for each, option in zip(costs, code, strict=True)) - limit


class _Progress:
    """A bar over evaluations with the best so far; some lines where nobody watches."""

    def __init__(self, module: TrainingModule, console: Console, excess: Excess, limit: float, most: int) -> None:
        self._console, self._measure, self._limit = console, module.task.quality, limit
        space = module.space
        within = sum(excess(code) <= 0 for code in space.codes()) if space.size <= LISTED else space.size
        self._total, self._done = min(most, within), 0
        self._best: Candidate | None = None
        self._bar = TwoLines.on(console)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        self._task = self._bar.add_task("architectures", total=self._total, figures="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, candidate: Candidate) -> None:
        """One more was scored."""
        self._done += 1
        if self._best is None or self._score(candidate) > self._score(self._best):
            self._best = candidate
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._done, figures=self._told())
        elif self._done % -(-self._total // LINES) == 0 or self._done == self._total:
            self._console.print(f"architecture {self._done} of {self._total}  {self._told()}", highlight=False)

    def _score(self, candidate: Candidate) -> float:
        return candidate.score(self._measure, self._limit)

    def _told(self) -> str:
        assert self._best is not None
        if self._score(self._best) == -math.inf:
            return "none within the budget so far"
        name = self._measure.replace("_", " ")
        return f"best: {name} {self._best.quality:.3f}  cost {self._best.cost:.3f} of {self._limit:.3f}"
