"""The stage of the alignment in a run: its own steps, checkpoints and curves, before those of the training."""

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import lightning
from rich.console import Console

from nas.config import SearchConfig
from nas.console import say
from nas.data import Task
from nas.distributed.rendezvous import from_first
from nas.errors import UserError
from nas.models.language_model import LanguageModel
from nas.runs import checkpoints
from nas.runs.folder import ALIGNMENT, Run
from nas.runs.history import by_operation
from nas.training.alignment.module import AlignmentModule
from nas.training.alignment.options import alignment_steps
from nas.training.stages.fit import Stage, fit_stage


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
    stage = Stage(ALIGNMENT, "aligning", mean_errors, "Aligned, relative squared error", " error")
    return fit_stage(module, stage, run, console, [StopOnLostError()])


class StopOnLostError(lightning.Callback):
    """Raises a UserError if a logged error is not a finite number."""

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, AlignmentModule)
        step = trainer.global_step
        if not module.logs_at(step):
            return
        if lost := [name for name, error in module.figures().items() if not math.isfinite(error)]:
            raise UserError(
                f"the alignment diverged: {lost[0]} is not a finite number at step {step}. Start a new run with "
                f"align.learning_rate below {module.config.align.learning_rate:g}, or align.steps=0."
            )


def mean_errors(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the mean error over the layers by operation."""
    return {name: fmean(errors) for name, errors in by_operation(figures).items()}
