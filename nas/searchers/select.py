"""After the training: a searcher chooses an architecture by how candidates score with the shared weights."""

import math
import time
from dataclasses import dataclass
from random import Random
from typing import Self

from rich.console import Console

from nas.config import RandomConfig, SearchConfig
from nas.console import Bars, say
from nas.data import Batch
from nas.data.seeding import stable_seed
from nas.evaluation.evaluate import evaluate
from nas.runs.folder import Run
from nas.search_spaces.space import Code
from nas.searchers import find_searcher
from nas.searchers.candidates import Candidate, Candidates
from nas.searchers.draws import LISTED, Excess
from nas.supernet.architecture_logits import paths_of
from nas.training.module import TrainingModule

LINES = 10
"""Lines about the progress where nobody watches."""


@dataclass(frozen=True)
class Searched:
    """What a searcher did.

    Attributes:
        searcher: its name.
        evaluations: how many different architectures were scored.
        best: the one it chose, as it was measured on the batches to choose by; None where none kept to the budget.
        target: of the budget, relative to the dearest architecture.
        seconds: of all evaluations.
    """

    searcher: str
    evaluations: int
    best: Candidate | None
    target: float
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
    candidates, excess = Candidates(run, module.space), _excess(module)
    random = Random(stable_seed(config.seed, "searcher", config.searcher.name))
    search, target = find_searcher(config.searcher.name), module.budget.target
    with module.autocast(), _Progress(module, console, excess) as progress:
        batches = module.task.selection_batches(config.searcher.batches)

        def score(code: Code) -> float:
            if (candidate := candidates.get(code)) is None:
                candidate = measure(module, code, batches)
                candidates.add(candidate)
            score = candidate.score(module.task.quality, _over(module, code, candidate.cost) <= 0)
            progress.show(candidate, score)
            return score

        scores = search(module.space, score, excess, config.searcher, random)
    scored = [candidate for code in scores if (candidate := candidates.get(code)) is not None]
    best = max(scored, key=lambda candidate: scores[candidate.code], default=None)
    within = best is not None and scores[best.code] > -math.inf
    if best is not None and not within:
        best = min(scored, key=lambda candidate: _over(module, candidate.code, candidate.cost))
    module.chosen = None if best is None else best.code
    seconds = sum(candidate.seconds for candidate in scored)
    return Searched(config.searcher.name, len(scored), best if within else None, target, seconds)


def measure(module: TrainingModule, code: Code, batches: list[Batch]) -> Candidate:
    """An architecture of the space with the shared weights: its quality, its loss, and what it cost, on ``batches``."""
    started = time.monotonic()
    result = evaluate(module.model, batches, module.task.quality, module.policy, paths_of(code))
    cost, seconds = module.cost.relative(module.cost.of(code, result.layer_shares)), time.monotonic() - started
    return Candidate.named(module.space, code, result.quality, result.loss, cost, seconds)


def _excess(module: TrainingModule) -> Excess:
    """By how much an architecture is off the budget, at the shares that its routers had in training."""
    costs, fixed = module.choices.costs(module.cost), module.cost.relative(module.cost.fixed)
    return lambda code: _over(module, code, fixed + sum(each[option] for each, option in zip(costs, code, strict=True)))


def _over(module: TrainingModule, code: Code, spent: float) -> float:
    return module.choices.excess(module.cost, code, spent, module.budget.target, module.budget.exact)


class _Progress:
    """A bar over evaluations with the best so far; some lines where nobody watches."""

    def __init__(self, module: TrainingModule, console: Console, excess: Excess) -> None:
        assert isinstance(module.config, SearchConfig)
        assert isinstance(module.config.searcher, RandomConfig)
        self._console, self._measure, self._target = console, module.task.quality, module.budget.target
        space = module.space
        within = sum(excess(code) <= 0 for code in space.codes()) if space.size <= LISTED else space.size
        self._total, self._done = min(module.config.searcher.evaluations, within), 0
        self._best: Candidate | None = None
        self._score = -math.inf
        self._bar = Bars.on(console)

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("architectures", total=self._total, figures="")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, candidate: Candidate, score: float) -> None:
        """One more was scored."""
        self._done += 1
        if score > self._score:
            self._best, self._score = candidate, score
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._done, figures=self._told())
        elif self._done % -(-self._total // LINES) == 0 or self._done == self._total:
            say(self._console, f"architecture {self._done} of {self._total}  {self._told()}")

    def _told(self) -> str:
        if self._best is None:
            return "none within the budget so far"
        name = self._measure.replace("_", " ")
        return f"best: {name} {self._best.quality:.3f}  cost {self._best.cost:.3f}  budget {self._target:.3f}"
