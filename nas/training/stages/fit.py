"""Train the module of a stage in a folder of its own in the run folder, from its newest checkpoint if it has one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import Timer
from rich.console import Console
from torch.nn import Parameter

from nas.console import say
from nas.distributed.launch import launched
from nas.distributed.rendezvous import from_first
from nas.files.saving import subfolder
from nas.models.language_model import LanguageModel
from nas.runs import checkpoints
from nas.runs.decode import decode
from nas.runs.folder import ALIGNMENT, CHECKPOINTS, HEALING, TENSORBOARD, Run
from nas.runs.metrics import Effort
from nas.training.callbacks import Checkpoints, ProgressBar, StopOnSignal, log
from nas.training.fit import lightning_trainer
from nas.training.restoring import Restored, restoring
from nas.training.stages.module import StageModule
from nas.training.throughput import Throughput

EFFORT = "effort.json"
"""File in the folder of a stage with its time and tokens."""
Figures = Mapping[str, float]
"""Figures of a step by name."""


class Stage(NamedTuple):
    """How a stage is named and shown.

    Attributes:
        folder: its folder in the run folder, and its name in messages, such as "alignment".
        bar: name of its progress bar, such as "aligning".
        means: maps the figures of a step to the few that are shown, by the name that is shown.
        done: first words of the message at its end, such as "Aligned, relative squared error".
        kind: what follows the names in the progress bar, such as " error".
    """

    folder: str
    bar: str
    means: Callable[[Figures], dict[str, float]]
    done: str
    kind: str = ""

    def shown(self, module: StageModule) -> str:
        """Return the text of the figures in the progress bar."""
        return "  ".join(f"{name}{self.kind} {value:.3f}" for name, value in self.means(module.figures()).items())


def fit_stage(
    module: StageModule,
    stage: Stage,
    run: Run,
    console: Console,
    callbacks: Sequence[lightning.Callback] = (),
    gradient_clip: float | None = None,
) -> bool:
    """Train a stage to its last step, or until it diverges or the user stops it.

    Args:
        module: module with the model; only its parameters `StageModule.learnt` change.
        stage: how the stage is named and shown.
        run: run folder.
        console: console that shows progress.
        callbacks: further callbacks, which run before figures are logged and checkpoints saved.
        gradient_clip: largest norm of the gradient; None if it is not clipped.

    Returns:
        Whether the stage was not stopped by the user. If it was, its newest checkpoint is of the step at which it
        stopped.
    """
    trainer, folder = module.config.trainer, Run(run.path / stage.folder)
    if launched().first:
        for name in (CHECKPOINTS, TENSORBOARD):
            subfolder(subfolder(run.path, stage.folder), name)
    checkpoint, first_step = from_first(lambda: _newest(folder, module, stage))
    if first_step:
        left = module.steps - first_step
        say(console, f"Continuing the {stage.folder} from step {first_step}: {max(left, 0) or 'no'} steps are left.")
    restored, recorder, timer, throughput = Restored(), StageRecorder(stage), Timer(), Throughput()
    shown = [ProgressBar(console, stage.bar, stage.shown)] if launched().first else []
    with (
        only_trains(module.model, module.learnt.values()),
        StopOnSignal(console) as stop,
        restoring(checkpoint, restored),
    ):
        recording = [throughput, *callbacks, recorder, Checkpoints(folder, trainer.checkpoint_every), timer]
        called = [restored, stop, *recording, *shown]
        made = lightning_trainer(trainer, module.steps, folder, first_step, called, gradient_clip=gradient_clip)
        pin_memory = isinstance(made.accelerator, CUDAAccelerator)
        made.fit(module, module.stream(first_step).loader(pin_memory), ckpt_path=checkpoint, weights_only=True)
    if launched().first:
        run.write_json(f"{stage.folder}/{EFFORT}", vars(Effort(timer.time_elapsed(), throughput.tokens)))
    ended = module.diverged_at is not None or not made.should_stop
    if recorder.first and ended and module.diverged_at is None:
        say(console, f"{stage.done}: {recorder.change}")
    return ended


def efforts(run: Run) -> dict[str, Effort]:
    """Return the time and tokens of the stages that a run has had beside its training, by the name of their folder."""

    def of(stage: str) -> Effort | None:
        return run.stored(f"{stage}/{EFFORT}", lambda given: decode(Effort, given, stage), "to leave its time unknown")

    return {stage: found for stage in (ALIGNMENT, HEALING) if (found := of(stage)) is not None}


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


def _newest(folder: Run, module: StageModule, stage: Stage) -> tuple[str | None, int]:
    """Return the newest checkpoint of a stage and its step; (None, 0) without a checkpoint."""

    def unfit(content: Mapping[str, Any]) -> str | None:
        found = content.get("state_dict")
        if not isinstance(found, dict) or found.keys() != module.learnt.keys():
            return f"it does not have the parameters that the {stage.folder} trains"
        return None

    found = checkpoints.newest_intact(folder.path, unfit)
    return (None, 0) if found is None else (str(found[0]), found[1])


class StageRecorder(lightning.Callback):
    """Logs the figures of a stage.

    Attributes:
        first: shown figures at the first logged step since the start.
        latest: the same at the latest one.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.first: dict[str, float] = {}
        self.latest: dict[str, float] = {}

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, StageModule)
        if not module.logs_at(trainer.global_step):
            return
        figures = module.figures()
        log(trainer, figures)
        self.latest = self._stage.means(figures)
        self.first = self.first or self.latest

    @property
    def change(self) -> str:
        """How each shown figure has changed, as text."""
        return ", ".join(f"{name} {self.first[name]:.3f} to {self.latest[name]:.3f}" for name in self.latest)
