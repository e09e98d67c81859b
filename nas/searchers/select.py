"""Selection of an architecture by the scores of candidates with the shared weights, after training or during it."""

import functools
import math
import time
from random import Random
from typing import Any, NamedTuple, Self

import lightning
from rich.console import Console

from nas.config import RandomConfig, SearchConfig
from nas.console import Bars, say
from nas.data import Batch, byte_lengths_of
from nas.data.seeding import stable_seed
from nas.distributed.rendezvous import from_first
from nas.evaluation.evaluate import Evaluation, evaluate
from nas.evaluation.metrics import HIGHER
from nas.models.language_model import RunBlock, run_block
from nas.runs.candidate import Candidate
from nas.runs.folder import Run
from nas.runs.metrics import Searched
from nas.search_spaces.space import Code
from nas.searchers import find_searcher
from nas.searchers.candidates import Candidates
from nas.searchers.cheapest import cheapest
from nas.searchers.draws import LISTED, Excess
from nas.supernet.draws import choices_of_layers
from nas.training.module import TrainingModule

LINES = 10
"""Number of progress lines if the console is no terminal."""


class Selection(NamedTuple):
    """The selected architecture.

    Attributes:
        code: code in the space of the supernet; None if no architecture was scored.
        searched: result of the searcher.
    """

    code: Code | None
    searched: Searched


def select(module: TrainingModule, run: Run, console: Console) -> Selection | None:
    """Select an architecture with the searcher of the config; return None if the architecture logits select it.

    An architecture that was selected during training stays selected. The candidates depend on the seed and the scores
    only. A search that was killed therefore proposes the same candidates again, and reads their scores from the run
    folder.
    """
    config = module.config
    assert isinstance(config, SearchConfig)
    if not isinstance(config.searcher, RandomConfig) or (module.budget.dense and not module.budget.starts_drawn):
        return None
    candidates, excess = Candidates(run, module.space), _excess(module)
    if (selected := module.architecture_logits.selected) is not None and selected.code is not None:
        return _selection(module, list(candidates), candidates.get(selected.code), bool(selected.within))
    random = Random(stable_seed(config.seed, "searcher", config.searcher.name))
    search = find_searcher(config.searcher.name)
    module.model.eval()
    with module.autocast(), _Progress(module, console, excess) as progress:
        batches = module.task.selection_batches(config.searcher.batches)
        blocks = module.recorded.scoring_run(module.step, batches[0].tokens.to(module.device))

        def score(code: Code) -> float:
            if (candidate := candidates.get(code)) is None:
                candidate = measure(module, code, batches, blocks)
                candidates.add(candidate)
            score = candidate.score(module.task.quality, over(module, code, candidate.cost) <= 0)
            progress.show(candidate, score)
            return score

        @functools.cache
        def by_sequence(code: Code) -> list[float]:
            return evaluated(module, code, batches, blocks).by_sequence

        scores = search(module.space, score, excess, config.searcher, random)
        scored = [candidate for code in scores if (candidate := candidates.get(code)) is not None]
        best = max(scored, key=lambda candidate: scores[candidate.code], default=None)
        within = best is not None and scores[best.code] > -math.inf
        if best is not None and not within:
            best = min(scored, key=lambda candidate: over(module, candidate.code, candidate.cost))
        elif best is not None and config.searcher.tolerance is not None:
            allowed = [candidate for candidate in scored if scores[candidate.code] > -math.inf]
            best = cheapest(allowed, best, config.searcher.tolerance, by_sequence, HIGHER[module.task.quality])
    module.model.train()
    return _selection(module, scored, best, within)


def _selection(module: TrainingModule, scored: list[Candidate], best: Candidate | None, within: bool) -> Selection:
    assert isinstance(module.config, SearchConfig)
    seconds = sum(candidate.seconds for candidate in scored)
    best_within = best if within else None
    searched = Searched(module.config.searcher.name, len(scored), best_within, module.budget.target, seconds)
    return Selection(None if best is None else best.code, searched)


class SelectInTime(lightning.Callback):
    """Selects the architecture at ``searcher.select_at`` of training, in the first process; all train it from then on.

    Args:
        run: run folder.
        console: console that says which architecture was selected.
    """

    def __init__(self, run: Run, console: Console) -> None:
        self._run, self._console = run, console

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Any, index: int) -> None:
        assert isinstance(module, TrainingModule)
        assert isinstance(module.config, SearchConfig)
        selected = module.architecture_logits.selected
        if selected is None or selected.decided or module.progress < module.config.searcher.select_at:
            return
        listed, within = from_first(lambda: self._select(module))
        code = tuple(listed)
        module.settle(code, within)
        names = ", ".join(module.space.names(code))
        say(
            self._console,
            f"selected after step {module.global_step} of {trainer.max_steps}, to be trained alone: {names}",
        )

    def _select(self, module: TrainingModule) -> tuple[Code, bool]:
        """Return the architecture, and whether it is within the budget."""
        selection = select(module, self._run, Console(quiet=True))  # the bar of the training is shown already
        if selection is None or selection.code is None:
            code = module.supernet.code
            return code, over(module, code, module.architecture_logits.cost_of(module.cost, code)) <= 0
        return selection.code, selection.searched.best is not None


def measure(module: TrainingModule, code: Code, batches: list[Batch], run: RunBlock = run_block) -> Candidate:
    """Measure quality, loss and cost of an architecture with the shared weights on ``batches``."""
    started = time.monotonic()
    result = evaluated(module, code, batches, run)
    cost, seconds = module.cost.relative(module.cost.of(code, result.layer_shares)), time.monotonic() - started
    return Candidate.named(module.space, code, result.quality, result.loss, cost, seconds)


def evaluated(module: TrainingModule, code: Code, batches: list[Batch], run: RunBlock) -> Evaluation:
    """Evaluate an architecture with the shared weights on ``batches``."""
    policy, lengths = module.supernet.policy, byte_lengths_of(module.task)
    return evaluate(module.model, batches, module.task.quality, policy, choices_of_layers(code), run, lengths)


def _excess(module: TrainingModule) -> Excess:
    """Return the function from a code to its cost over the budget, at the softmax shares measured in training."""
    costs, fixed = module.architecture_logits.costs(module.cost), module.cost.relative(module.cost.fixed)
    return lambda code: over(module, code, fixed + sum(each[option] for each, option in zip(costs, code, strict=True)))


def over(module: TrainingModule, code: Code, cost: float) -> float:
    """Return by how much an architecture with this relative cost misses the budget; 0 or less if it is within.

    While the dense phase draws options, routers keep every chunk. They will drop chunks after the selection, so an
    architecture then counts with its cost without any softmax chunk.
    """
    if module.budget.dense:
        cost = module.cost.relative(module.cost.of(code, dict.fromkeys(range(len(code)), 0.0)))
    return module.architecture_logits.excess(module.cost, code, cost, module.budget.target, module.budget.exact)


class _Progress:
    """A progress bar over evaluations with the best candidate so far; a few lines if the console is no terminal."""

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
        """Count a candidate that was scored."""
        self._done += 1
        if score > self._score:
            self._best, self._score = candidate, score
        if not self._bar.disable:
            self._bar.update(self._task, completed=self._done, figures=self._figures())
        elif self._done % -(-self._total // LINES) == 0 or self._done == self._total:
            say(self._console, f"architecture {self._done} of {self._total}  {self._figures()}")

    def _figures(self) -> str:
        if self._best is None:
            return "none within the budget so far"
        name = self._measure.replace("_", " ")
        return f"best: {name} {self._best.quality:.3f}  cost {self._best.cost:.3f}  budget {self._target:.3f}"
