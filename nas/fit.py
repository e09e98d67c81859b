"""Runs the training of a module in its run folder, from its newest checkpoint if there is one."""

import logging
import time
import warnings

import lightning
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from nas.callbacks import Checkpoints, ProgressBar, Recorder, StopOnSignal
from nas.module import TrainingModule, TrainingStream
from nas.run import TENSORBOARD, Run, check_checkpoint, flat


def fit(module: TrainingModule, run: Run, console: Console) -> bool:
    """Train to the last step of the config, or until the user stops it.

    Returns:
        Whether training reached its last step; if not, the newest checkpoint holds where it stopped.
    """
    _silence()
    config = module.config.trainer
    checkpoint = run.newest_checkpoint()
    first_step = 0 if checkpoint is None else check_checkpoint(checkpoint)
    stop = StopOnSignal(console)
    logger = TensorBoardLogger(
        str(run.path), name="", version=TENSORBOARD, default_hp_metric=False, purge_step=first_step or None
    )
    trainer = lightning.Trainer(
        max_steps=config.steps,
        max_epochs=1,
        accelerator=config.accelerator,
        devices=config.devices,
        precision=config.precision,  # type: ignore[arg-type]  # checked by Lightning, which lists what would do
        gradient_clip_val=config.gradient_clip,
        logger=logger,
        callbacks=[Recorder(), Checkpoints(run, config.checkpoint_every), ProgressBar(console), stop],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    if checkpoint is None:
        logger.log_hyperparams(
            {key: str(value) for key, value in flat(run.config()).items()}, {f"final/{module.task.quality}": 0.0}
        )
    loader = TrainingStream(module.task, first_step, config.steps).loader()
    started = time.monotonic()
    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    module.seconds = time.monotonic() - started
    return module.global_step >= config.steps


def _silence() -> None:
    """Lightning's tips and its notes on machines and loaders say nothing that a user here could act on."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in (".*does not have many workers.*", ".*LeafSpec.*", ".*dataloader is not resumable.*"):
        warnings.filterwarnings("ignore", message)
