"""Train a module in its run folder, from its newest checkpoint if the folder has one."""

from collections.abc import Sequence

import lightning
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from rich.console import Console

from nas.config import TrainerConfig
from nas.console import say
from nas.distributed.launch import launched
from nas.distributed.rendezvous import from_first
from nas.distributed.strategies import engine
from nas.files.saving import subfolder
from nas.options.training import BEST
from nas.runs import checkpoints
from nas.runs.folder import CHECKPOINTS, TENSORBOARD, Run
from nas.training.batches import TrainingStream
from nas.training.best import KeepBest, restore_best
from nas.training.callbacks import Checkpoints, ProgressBar, Recorder, StopOnDivergence, StopOnSignal
from nas.training.extension import Extension
from nas.training.loggers import closed_on_error, loggers
from nas.training.module import TrainingModule
from nas.training.restoring import Restored, restoring, unfit
from nas.training.throughput import Throughput


def fit(
    module: TrainingModule,
    run: Run,
    console: Console,
    callbacks: Sequence[lightning.Callback] = (),
    until: int | None = None,
    name: str = "training",
) -> bool:
    """Train to the last step of the config, or until the training diverges or the user stops it.

    Args:
        module: module to train, with its config.
        run: run folder.
        console: console that shows progress.
        callbacks: further callbacks. They run after the checkpoint callback, so that a callback that ends the training
            loses no step.
        until: step at which this call stops, with a checkpoint; None for the last step of the config.
        name: name of the progress bar.

    Returns:
        Whether nothing is left to train: training reached its last step or diverged (`TrainingModule.diverged_at`). If
        not, the newest checkpoint is of the step at which it stopped.
    """
    config = module.config.trainer
    last = config.steps if until is None else until
    checkpoint, first_step = from_first(lambda: _newest(run, module))
    if module.config.resume is not None:
        left = last - first_step
        say(console, f"Continuing from step {first_step}: {left or 'no'} steps are left to train.")
    if checkpoint is None:  # the model may have pretrained weights by now
        module.start_copies()
    if launched().first:
        for folder in (CHECKPOINTS, TENSORBOARD):
            subfolder(run.path, folder)
    timer, throughput = Timer(), Throughput()
    recording = [
        throughput,
        Recorder(run),
        Extension(run, console),
        StopOnDivergence(config.checkpoint_every, scaled=config.precision == "16-mixed"),
        *([KeepBest(run)] if config.keep_best or config.answer == BEST else []),
        Checkpoints(run, config.checkpoint_every),
        timer,
    ]
    shown = [ProgressBar(console, name)] if launched().first else []
    restored = Restored()
    added = loggers(module.config.logger, run, first_step) if launched().first else []
    with StopOnSignal(console) as stop, restoring(checkpoint, restored), closed_on_error(added):
        called = [restored, stop, *recording, *shown, *callbacks]
        trainer = lightning_trainer(config, last, run, first_step, called, added, config.gradient_clip)
        pin_memory = isinstance(trainer.accelerator, CUDAAccelerator)
        stream = TrainingStream(
            module.task,
            first_step,
            config.steps,
            config.bilevel,
            accumulate=config.accumulate,
            sharing=config.context_parallel,
            grain=module.grain,
            longer_from=config.longer_from,
            longer=config.longer,
        )
        trainer.fit(module, stream.loader(pin_memory), ckpt_path=checkpoint, weights_only=True)
    module.collect()
    if config.answer == BEST and launched().first:
        restore_best(module, run)
    module.use_average()
    module.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU
    module.seconds, module.tokens = timer.time_elapsed(), throughput.tokens
    module.tokens_per_second = throughput.tokens_per_second
    return module.global_step >= last or module.diverged_at is not None


def lightning_trainer(
    config: TrainerConfig,
    steps: int,
    run: Run,
    first_step: int,
    callbacks: Sequence[lightning.Callback],
    added: Sequence[Logger] = (),
    gradient_clip: float | None = None,
) -> lightning.Trainer:
    """Return Lightning's Trainer for a number of steps, without its own checkpoints, bars and validation.

    Args:
        config: devices, strategy and precision.
        steps: step at which it stops.
        run: folder in which TensorBoard's logger writes.
        first_step: number of steps of the checkpoint from which it goes on.
        callbacks: its callbacks, called in this order.
        added: loggers beside TensorBoard's.
        gradient_clip: largest norm of the gradient; None if it is not clipped.
    """
    board = TensorBoardLogger(
        str(run.path), name="", version=TENSORBOARD, default_hp_metric=False, purge_step=first_step + 1
    )
    return lightning.Trainer(
        max_steps=steps,
        max_epochs=1,
        **engine(config),
        gradient_clip_val=gradient_clip,
        logger=[board, *added],
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _newest(run: Run, module: TrainingModule) -> tuple[str | None, int]:
    """Return the newest checkpoint and its step; (None, 0) without a checkpoint."""
    found = checkpoints.newest_intact(run.path, lambda content: unfit(content, module))
    return (None, 0) if found is None else (str(found[0]), found[1])
