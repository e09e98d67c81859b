"""The stage of the alignment in a run: its own steps, checkpoints and curves, before those of the training."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean
from typing import Any

import lightning
from lightning.pytorch.accelerators import CUDAAccelerator
from rich.console import Console
from torch.nn import Parameter

from nas.config import SearchConfig
from nas.console import say
from nas.data import Task
from nas.distributed.launch import launched
from nas.distributed.rendezvous import from_first
from nas.errors import UserError
from nas.files.saving import subfolder
from nas.models.language_model import LanguageModel
from nas.runs import checkpoints
from nas.runs.folder import ALIGNMENT, CHECKPOINTS, TENSORBOARD, Run
from nas.runs.history import by_operation
from nas.training.alignment.module import AlignmentModule
from nas.training.alignment.options import alignment_steps
from nas.training.batches import TrainingStream
from nas.training.callbacks import Checkpoints, ProgressBar, StopOnSignal, log
from nas.training.fit import lightning_trainer
from nas.training.restoring import Restored, restoring


def align(model: LanguageModel, task: Task, config: SearchConfig, run: Run, console: Console) -> bool:
    """Let the operations of a model learn the outputs of its pretrained layers, from the newest checkpoint if any.

    A run whose training has begun is aligned already, and its checkpoint has the result.

    Args:
        model: model with the weights of the pretrained one.
        task: task on whose training batches the operations learn.
        config: config of the search.
        run: run folder.
        console: console that shows progress.

    Returns:
        Whether the search may begin. If not, the user has stopped the alignment, and its newest checkpoint is of the
        step at which it stopped.
    """
    steps = alignment_steps(config)
    if not steps or from_first(lambda: checkpoints.newest(run.path) is not None):
        return True
    module = AlignmentModule(model, task, config, steps)
    if not any(module.options):
        say(console, "Nothing to align: no operation of this space adds parameters to the pretrained model.")
        return True
    if launched().first:
        for name in (CHECKPOINTS, TENSORBOARD):
            subfolder(subfolder(run.path, ALIGNMENT), name)
    with only_trains(model, module.learnt.values()):
        return _fit(module, Run(run.path / ALIGNMENT), console)


@contextmanager
def only_trains(model: LanguageModel, parameters: Iterable[Parameter]) -> Iterator[None]:
    """Let these parameters of a model alone have gradients in the block."""
    own, before = {id(p) for p in parameters}, [(p, p.requires_grad) for p in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(id(parameter) in own)
        yield
    finally:
        for parameter, had in before:
            parameter.requires_grad_(had)
            parameter.grad = None


def _fit(module: AlignmentModule, folder: Run, console: Console) -> bool:
    """Train the module in a folder of its own in the run folder; return False if the user stopped it."""
    trainer = module.config.trainer
    checkpoint, first_step = from_first(lambda: _newest(folder, module))
    if first_step:
        left = module.steps - first_step
        say(console, f"Continuing the alignment from step {first_step}: {left if left > 0 else 'no'} steps are left.")
    restored, recorder = Restored(), ErrorRecorder()
    shown = [ProgressBar(console, "aligning", mean_errors)] if launched().first else []
    with StopOnSignal(console) as stop, restoring(checkpoint, restored):
        called = [restored, stop, recorder, Checkpoints(folder, trainer.checkpoint_every), *shown]
        made = lightning_trainer(trainer, module.steps, folder, first_step, called)
        stream = TrainingStream(module.task, first_step, module.steps, accumulate=trainer.accumulate)
        pin_memory = isinstance(made.accelerator, CUDAAccelerator)
        made.fit(module, stream.loader(pin_memory), ckpt_path=checkpoint, weights_only=True)
    if recorder.first and recorder.latest:
        say(console, f"Aligned, relative squared error: {_fall(recorder.first, recorder.latest)}")
    return not made.should_stop


def _newest(folder: Run, module: AlignmentModule) -> tuple[str | None, int]:
    """Return the newest checkpoint of the alignment and its step; (None, 0) without a checkpoint."""

    def unfit(content: Mapping[str, Any]) -> str | None:
        found = content.get("state_dict")
        if not isinstance(found, dict) or found.keys() != module.learnt.keys():
            return "it does not have the parameters that are aligned"
        return None

    found = checkpoints.newest_intact(folder.path, unfit)
    return (None, 0) if found is None else (str(found[0]), found[1])


class ErrorRecorder(lightning.Callback):
    """Logs the errors by layer and operation.

    Attributes:
        first: mean error by operation at the first logged step since the start.
        latest: the same at the latest one.
    """

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.latest: dict[str, float] = {}

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, AlignmentModule)
        step = trainer.global_step
        if not module.logs_at(step):
            return
        figures = module.figures()
        if lost := [name for name, error in figures.items() if not math.isfinite(error)]:
            raise UserError(
                f"the alignment diverged: {lost[0]} is not a finite number at step {step}. Start a new run with "
                f"align.learning_rate below {module.config.align.learning_rate:g}, or align.steps=0."
            )
        log(trainer, figures)
        self.latest = {name: fmean(errors) for name, errors in by_operation(figures).items()}
        self.first = self.first or self.latest


def mean_errors(module: AlignmentModule) -> str:
    """Return the text of the errors in the progress bar: the mean over the layers of each operation."""
    means = {name: fmean(errors) for name, errors in by_operation(module.figures()).items()}
    return "  ".join(f"{name} error {error:.3f}" for name, error in means.items())


def _fall(first: Mapping[str, float], latest: Mapping[str, float]) -> str:
    """Return by operation how the mean error over the layers changed."""
    return ", ".join(f"{name} {first[name]:.3f} to {latest[name]:.3f}" for name in latest)
