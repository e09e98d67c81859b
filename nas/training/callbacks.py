"""Callbacks of training: checkpoints, curves and routing images, the progress bar, stopping on a signal."""

import math
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch.distributed.tensor import DTensor

from nas.console import Bars, say
from nas.distributed.launch import launched
from nas.evaluation.routing_map import routing_map
from nas.report.image import routing_figure
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.runs.history import VALIDATION
from nas.runs.snapshots import add_snapshot, is_kept, snapshot_of
from nas.training.module import TrainingModule

OVERFLOWS = 3
"""Number of checked steps in a row whose loss is not finite, after which a training with a gradient scaler stops."""
SHORT = {"multiplier": "λ", "bits_per_byte": "bits/byte", "bits_per_token": "bits/token", "exact_match": "exact match"}


class StopOnDivergence(lightning.Callback):
    """Stops training once the loss or a weight is not a finite number.

    It looks at logged steps, where the loss is read anyway, and at every step with a checkpoint. It runs before
    `Checkpoints`, which then keeps the newest checkpoint with finite weights. The module has the attributes
    ``diverged_at`` and ``latest`` with the loss, and the method ``logs_at``.

    With a gradient scaler (trainer.precision=16-mixed) an overflow is normal: the scaler skips the step and the weights
    stay as they were. The loss must then overflow at `OVERFLOWS` of these steps in a row.

    Args:
        every: number of steps between two checkpoints.
        scaled: whether a gradient scaler skips steps that overflow.
    """

    def __init__(self, every: int, scaled: bool = False) -> None:
        self._every, self._allowed = every, OVERFLOWS if scaled else 1
        self._lost = 0

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        step = trainer.global_step
        if not (module.logs_at(step) or step % self._every == 0 or trainer.should_stop):
            return
        loss, weights = map(trainer.strategy.reduce_boolean_decision, _are_finite(module))
        self._lost = 0 if loss else self._lost + 1
        if self._lost >= self._allowed or not weights:
            module.diverged_at = step
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"lost": self._lost} if self._lost else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._lost = int(state_dict["lost"])


def _are_finite(module: Any) -> tuple[bool, bool]:
    """Return whether the latest loss, and whether all weights of this process, are finite; waits for the GPU once."""
    weights = (p.to_local() if isinstance(p, DTensor) else p for p in module.parameters())
    loss = torch.as_tensor(module.latest["loss"], device=module.device)
    every = torch.stack([weight.isfinite().all() for weight in weights]).all()
    loss_is, weights_are = torch.stack([loss.isfinite().all(), every]).tolist()
    return loss_is, weights_are


class Checkpoints(lightning.Callback):
    """Saves a checkpoint every ``every`` steps and at the end, so that a killed run can resume."""

    def __init__(self, run: Run, every: int) -> None:
        self._run, self._every = run, every

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        if module.diverged_at is not None:
            return
        if trainer.global_step % self._every == 0 or trainer.global_step >= trainer.max_steps or trainer.should_stop:
            assert isinstance(trainer.logger, TensorBoardLogger)
            trainer.logger.experiment.flush()  # a resumed run does not log earlier steps again
            for added in trainer.loggers[1:]:
                added.save()
            if trainer.is_global_zero:
                checkpoints.save(self._run.path, trainer.global_step, trainer.save_checkpoint)
            else:
                trainer.save_checkpoint(self._run.path)  # the first process writes; this one contributes its shard


class Recorder(lightning.Callback):
    """Writes scalars every ``log_every`` steps, and validates and draws the routing every ``validate_every`` steps.

    It runs before `Checkpoints`, so that a resumed run has every record up to its checkpoint.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, TrainingModule)
        assert isinstance(trainer.logger, TensorBoardLogger)
        step = trainer.global_step
        if step % module.config.trainer.validate_every == 0 or step >= trainer.max_steps:
            log(trainer, _validated(module))
            with module.autocast():
                routing = routing_map(module.evaluated, module.task, module.supernet.policy, module.routes.present)
            if routing is not None and trainer.is_global_zero:
                trainer.logger.experiment.add_figure("routing", routing_figure(routing), step)
                learnt = module.model.architecture.given_routing is None
                if learnt and is_kept(step, module.config.trainer.validate_every, trainer.max_steps):
                    add_snapshot(self._run, snapshot_of(routing, step))
        if module.logs_at(step):
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            log(trainer, {**module.figures(), "learning_rate": rate})


def log(trainer: lightning.Trainer, figures: dict[str, float]) -> None:
    """Log the figures of the latest step with every logger."""
    for logger in trainer.loggers:
        logger.log_metrics(figures, trainer.global_step)


def _validated(module: TrainingModule) -> dict[str, float]:
    """Return the figures of a validation by name, without figures that are not finite."""
    quality, found = module.validate()
    planted = {} if found is None else {f"validation_planted_{name}": value for name, value in vars(found).items()}
    return {f"{VALIDATION}{module.task.quality}": quality} | {n: v for n, v in planted.items() if math.isfinite(v)}


class ProgressBar(lightning.Callback):
    """Shows a progress bar with the figures of each logged step; outside a terminal, a line per validation.

    Args:
        console: where the bar is shown.
        name: name of the bar.
        figures: returns the text of the figures of a module; `shown` by default.
    """

    def __init__(self, console: Console, name: str = "training", figures: Callable[[Any], str] | None = None) -> None:
        self._console, self._name, self._figures = console, name, figures or shown
        self._bar = Bars.on(console)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        self._bar.start()
        self._task = self._bar.add_task(self._name, total=trainer.max_steps, completed=trainer.global_step, figures="")

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        step = trainer.global_step
        if not self._bar.disable:
            self._bar.update(self._task, completed=step)
            if module.logs_at(step):
                self._bar.update(self._task, figures=self._figures(module))
        elif step % module.config.trainer.validate_every == 0:
            what = "" if self._name == "training" else f"{self._name}, "
            say(self._console, f"{what}step {step} of {trainer.max_steps}  {self._figures(module)}")

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        self._bar.stop()

    def on_exception(self, trainer: lightning.Trainer, module: Any, exception: BaseException) -> None:
        self._bar.stop()


class StopOnSignal(lightning.Callback):
    """Stops training after the current step on Ctrl-C or SIGTERM; a second signal ends the program at once.

    A signal to one of several processes stops all of them after the same step.

    It is a context around the training and a callback of it. It runs before `Checkpoints`, which then saves the last
    step.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stopped = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is not None and launched().world > 1:  # torchrun sends SIGTERM before this process has named the cause
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def on_train_start(self, trainer: lightning.Trainer, module: Any) -> None:
        signal.signal(signal.SIGTERM, self._stop)  # Lightning has replaced the handler

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(self._stopped, all=False)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopped:
            sys.exit(128 + number)
        self._stopped = True
        say(self._console, "Stopping after this step to save a checkpoint; a second signal stops at once.")


def shown(module: TrainingModule) -> str:
    """Return the text of the figures in the progress bar."""
    names = ("loss", module.task.quality, module.cost.figure, "budget", "multiplier")
    figures = module.figures()
    return "  ".join(f"{SHORT.get(name, name)} {figures[name]:.3f}" for name in names if name in figures)
