"""Successive halving of a search: train candidates alone, drop the worse at each rung, train the best to the end."""

import math
import shutil
import time
from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple

import lightning
from rich.console import Console

from nas.budget.cost import over_lengths, training_flops_per_token
from nas.config import HalvingConfig, SearchConfig
from nas.console import say
from nas.data.batch import selection_of
from nas.distributed.launch import launched
from nas.distributed.rendezvous import from_first
from nas.evaluation.metrics import merit
from nas.evaluation.selection_lengths import selection_lengths
from nas.files.saving import subfolder
from nas.models.language_model import run_block
from nas.report.units import number
from nas.runs.candidate import Candidate
from nas.runs.folder import ALONE, CHECKPOINTS, Run
from nas.runs.history import SHARE, history
from nas.runs.metrics import Searched
from nas.runs.moving import move_into
from nas.searchers.halving.candidates import starts
from nas.searchers.halving.results import Result, Results, best
from nas.searchers.halving.rungs import Rung, rungs
from nas.searchers.select import Selection, evaluated, over
from nas.supernet.architecture_logits import TOLERANCE
from nas.supernet.discretised import calibrate_routers
from nas.training.fit import fit
from nas.training.module import TrainingModule


class Halved(NamedTuple):
    """The result of successive halving.

    Attributes:
        module: module of the selected architecture.
        finished: whether it was trained to the end.
        selection: the architecture; None in all processes but the first.
    """

    module: TrainingModule
    finished: bool
    selection: Selection | None


def halve(
    supernet: TrainingModule, run: Run, console: Console, callbacks: Sequence[lightning.Callback] = ()
) -> Halved | None:
    """Train candidates of a space alone and select one; continues with what the run folder has.

    Args:
        supernet: module of the whole space, which is not trained. Candidates have its budget and, for a pretrained
            model, its weights.
        run: run folder.
        console: console that shows progress.
        callbacks: further callbacks of each training.

    Returns:
        None if the user has stopped it before an architecture was selected.
    """
    return _Halving(supernet, run, console, callbacks).run()


class _Halving:
    def __init__(
        self, supernet: TrainingModule, run: Run, console: Console, callbacks: Sequence[lightning.Callback]
    ) -> None:
        config = supernet.config
        assert isinstance(config, SearchConfig)
        assert isinstance(config.searcher, HalvingConfig)
        self._supernet, self._run, self._console, self._callbacks = supernet, run, console, callbacks
        self._settings, self._steps = config.searcher, config.trainer.steps
        self._starts = starts(supernet.space, supernet.cost, supernet.budget, config.seed, config.searcher)
        self._results = Results(run)
        given, measured = self._settings.length_factors, config.data.length_factors
        factors = selection_lengths("searcher.length_factors", given, measured, supernet.task)
        self._batches = {one: selection_of(supernet.task, self._settings.batches, one) for one in factors}

    def run(self) -> Halved | None:
        """Train to each rung in turn; see `halve`."""
        plan = rungs(self._settings, len(self._starts), self._steps)
        left = list(range(len(self._starts)))
        if from_first(lambda: self._results.selected) is None:
            self._announce(plan)
            for rung in plan:
                kept = self._compare(left, rung)
                if kept is None:
                    return None
                left = kept
            self._select(left[0])
        selected = from_first(lambda: self._results.selected)
        assert selected is not None
        return self._finish(selected)

    def _announce(self, plan: Sequence[Rung]) -> None:
        points = ", ".join(f"{rung.keep} of them from step {rung.step} on" for rung in plan[:-1])
        restarts = self._settings.restarts
        count = len(self._starts) // restarts
        many = f"{count} architecture{'s' if count > 1 else ''}"
        each = f" from {restarts} initial weights{' each' if count > 1 else ''}" if restarts > 1 else ""
        say(self._console, f"Training {many} alone{each}{points and f'; {points}'}")

    def _compare(self, left: Sequence[int], rung: Rung) -> list[int] | None:
        """Train candidates to a rung; return those that go on, or None if the user has stopped a training."""
        if len(left) == 1 and rung.step < self._steps:
            return list(left)
        for position, one in enumerate(left):
            if self._known(one, rung.step):
                continue
            name = f"{self._name(one)}, {position + 1} of {len(left)}"
            if not self._train(one, rung.step, name):
                return None
        kept = from_first(lambda: self._best(left, rung))
        if launched().first:
            self._drop(set(left) - set(kept))
        return list(kept)

    def _known(self, one: int, step: int) -> bool:
        return from_first(lambda: self._results.get(one, step) is not None)

    def _best(self, left: Sequence[int], rung: Rung) -> list[int]:
        results = [result for one in left if (result := self._results.get(one, rung.step)) is not None]
        chosen = best(results, rung.keep, rung.step == self._steps)
        if len(left) > 1:
            shown = "; ".join(f"{self._name(one.number)}: {self._figures(one)}" for one in chosen)
            say(self._console, f"Best of {len(left)} after step {rung.step}: {shown}")
        return [one.number for one in chosen]

    def _figures(self, result: Result) -> str:
        quality = self._supernet.task.quality
        each = (f"{number(abs(own))} at {factor}x" for factor, own in result.merits.items())
        return f"{quality.replace('_', ' ')} {', '.join(each)}"

    def _name(self, one: int) -> str:
        code, restart = self._starts[one]
        name = ", ".join(self._supernet.space.names(code))
        return f"{name} (start {restart + 1})" if self._settings.restarts > 1 else name

    def _folder(self, one: int) -> Run:
        return Run(self._run.path / ALONE / f"{one + 1:03d}")

    def _train(self, one: int, step: int, name: str) -> bool:
        """Train a candidate to a step and measure it; return False if the user has stopped the training.

        At the end its routers are calibrated first, as those of the run will be.
        """
        module, folder = self._supernet.alone(*self._starts[one]), self._folder(one)
        if launched().first:
            subfolder(subfolder(self._run.path, ALONE), folder.path.name)
        finished = fit(module, folder, self._console, self._callbacks, step, name)
        if finished and launched().first:
            self._results.add(self._measured(one, module, step))
        return finished and (module.diverged_at is not None or not module.trainer.should_stop)

    def _measured(self, one: int, module: TrainingModule, step: int) -> Result:
        started = time.monotonic()
        code = (0,) * len(module.space.options)
        module.model.eval()
        with module.autocast():
            if step >= self._steps:
                calibrate_routers(module.supernet, module.task, code)
            found = {factor: evaluated(module, code, batches, run_block) for factor, batches in self._batches.items()}
        module.model.train()
        at_length = found.get(1, next(iter(found.values())))
        used = module.cost.of(code, at_length.layer_shares)
        quality = module.task.quality
        lost = module.diverged_at is not None
        return Result(
            number=one,
            code=self._starts[one].code,
            options=self._supernet.space.names(self._starts[one].code),
            step=step,
            merits={f: -math.inf if lost else merit(quality, each.quality, each.loss) for f, each in found.items()},
            quality=at_length.quality,
            loss=at_length.loss,
            cost=self._supernet.cost.relative(used),
            excess=over(module, code, module.cost.relative(used)),
            training_seconds=module.seconds,
            tokens=module.tokens,
            training_flops=_training_flops(module, self._folder(one)),
            seconds=time.monotonic() - started,
            restart=self._starts[one].restart,
        )

    def _drop(self, dropped: set[int]) -> None:
        """Delete the checkpoints of candidates that do not go on; their curves stay."""
        for one in dropped:
            shutil.rmtree(self._folder(one).path / CHECKPOINTS, ignore_errors=True)

    def _select(self, one: int) -> None:
        """Make the training of a candidate that of the run."""

        def first() -> None:
            move_into(self._run.path, self._folder(one).path)
            self._results.select(one)

        from_first(first)

    def _finish(self, one: int) -> Halved:
        """Return the trained module of the selected candidate, with the time and the tokens of all candidates."""
        module = self._supernet.alone(*self._starts[one])
        finished = fit(module, self._run, self._console, self._callbacks)
        if not launched().first:
            return Halved(module, finished, None)
        others = [result for each, result in self._results.latest.items() if each != one]
        module.seconds += sum(result.training_seconds for result in others)
        module.tokens += sum(result.tokens for result in others)
        return Halved(module, finished, self._selection(one))

    def _selection(self, one: int) -> Selection:
        space, latest = self._supernet.space, self._results.latest
        own = latest[one]
        candidate = Candidate.named(space, own.code, own.quality, own.loss, own.cost, own.seconds)
        searched = Searched(
            searcher=self._settings.name,
            evaluations=len(latest),
            best=candidate if own.excess <= TOLERANCE else None,
            target=self._supernet.budget.target,
            seconds=sum(result.seconds for result in self._results.every),
            training_flops=sum(result.training_flops for result in latest.values()),
        )
        return Selection((0,) * len(space.options), searched)


def _training_flops(module: TrainingModule, folder: Run) -> float:
    """Return the FLOPs of the training of a module so far, at the mean softmax shares of its layers in training."""
    logged, trainer, length = history(folder), module.config.trainer, module.config.data.length
    shares = {
        layer: fmean(entry[name] for entry in logged if name in entry)
        for layer in module.space.routed
        if any((name := f"{SHARE}/layer_{layer}") in entry for entry in logged)
    }
    done = module.global_step / trainer.steps
    longer = max(0.0, done - trainer.longer_from) / done if done else 0.0
    each = partial(training_flops_per_token, module.space.sizes, shares)
    return module.tokens * over_lengths(each, length, longer, trainer.longer)
