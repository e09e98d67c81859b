"""Training for more steps than a run was started with: schedules are those of the new number of steps."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import lightning
from rich.console import Console

from nas.console import say
from nas.distributed.launch import launched
from nas.relaxations import interpolate
from nas.runs.folder import Run
from nas.training.module import TrainingModule
from nas.training.updates.optimizer import schedule

STEPS = "steps"
"""Key in a checkpoint with the number of steps to which its schedules and fractions of training refer."""


class Extension(lightning.Callback):
    """Moves a training from the schedules of its checkpoint to those of another number of steps, and says what jumps.

    The results of the earlier steps move to a folder of their own in the run folder.

    Args:
        run: run folder.
        console: where the jumps are printed.
    """

    def __init__(self, run: Run, console: Console) -> None:
        self._run, self._console = run, console
        self._extended = False

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(module, TrainingModule)
        checkpoint[STEPS] = module.config.trainer.steps

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(module, TrainingModule)
        new = module.config.trainer.steps
        old = checkpoint.get(STEPS, new)
        if old == new:
            return
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False  # more batches follow
        step = checkpoint["global_step"]
        before = _scheduled(module, step, old)
        module.budget.extend(old / new)
        after = _scheduled(module, step, new)
        self._extended = True
        if launched().first:
            self._run.set_aside(step)
        jumps = [
            f"the {name} jumps from {before[name]:.3g} to {after[name]:.3g}"
            for name in before
            if before[name] != after[name]
        ]
        say(
            self._console,
            f"Training for {new} steps instead of {old}. From step {step} on, schedules are those of {new} steps: "
            f"{', '.join(jumps) or 'nothing jumps'}. The result is not that of a run of {new} steps from the start.",
        )

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Set the learning rates of the first step, which the checkpoint has from the old schedule."""
        assert isinstance(module, TrainingModule)
        if not self._extended:
            return
        factor = schedule(trainer.global_step, module.config.trainer)
        for config in trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            rates = [base * factor for base in scheduler.base_lrs]
            for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            scheduler._last_lr = rates


def _scheduled(module: TrainingModule, step: int, steps: int) -> Mapping[str, float]:
    """Return the scheduled figures at a step of a training of so many steps, by name."""
    trainer, relaxation, progress = module.config.trainer, module.config.relaxation, step / steps
    figures = {"learning rate": trainer.learning_rate * schedule(step, replace(trainer, steps=steps))}
    if module.supernet.searches:
        figures["temperature"] = interpolate(relaxation.temperature_start, relaxation.temperature_end, progress)
        figures["allowed cost"] = module.budget.allowed(progress)
        figures["minimum multiplier"] = module.budget.min_multiplier(progress)
        if (route_dropout := module.budget.route_dropout(progress)) is not None:
            figures["route dropout"] = route_dropout
    return figures
