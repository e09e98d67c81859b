"""The LightningModule that stages beside the training share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import lightning
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from nas.config import SearchConfig
from nas.data import Scored, Task
from nas.data.seeding import seed_default
from nas.distributed.collectives import averages, part_of_mean
from nas.models.language_model import LanguageModel
from nas.models.recording import without_autocast_cache
from nas.training.batches import Given, TrainingStream
from nas.training.step.accumulation import Micro, differentiate, summed, weighed
from nas.training.step.losses import Mean


class StageModule(lightning.LightningModule, ABC):
    """Trains some parameters of a model in a stage of its own, before or after the training of a search.

    All random numbers of a step follow from the seed and the step. Checkpoints have the trained parameters alone.

    Args:
        model: model with the weights with which the stage begins.
        task: task on whose training batches the stage learns.
        config: config of the search.
        steps: steps of the stage.
    """

    group: ClassVar[str]
    """Name of the options of the stage, from which its random numbers follow too."""
    diverged_at: int | None = None
    """Step at which the stage stopped because the loss or a weight was not finite; None otherwise."""

    def __init__(self, model: LanguageModel, task: Task, config: SearchConfig, steps: int) -> None:
        super().__init__()
        self.model, self.task, self.config, self.steps = model, task, config, steps
        self.strict_loading = False
        self.latest: dict[str, Tensor] = {}
        """Figures of the latest step on the device; see `figures`."""

    @property
    @abstractmethod
    def learnt(self) -> dict[str, Parameter]:
        """The parameters that are trained, by name in this module."""

    @abstractmethod
    def losses(self, batch: Scored, mean: Mean, parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what a micro-batch adds to the loss of a step, and to its figures.

        Args:
            batch: tokens and scored places.
            mean: maps values of scored tokens to what they add to the mean over the step.
            parts: number of micro-batches of the step.
        """

    def stream(self, first_step: int) -> TrainingStream:
        """Return the batches of the stage from a step on."""
        return TrainingStream(self.task, first_step, self.steps, accumulate=self.config.trainer.accumulate)

    def training_step(self, batch: Given, index: int) -> Tensor:
        """Return the loss of a step, and keep its figures."""
        seed_default(self.device, self.config.seed, self.group, self.global_step)
        if isinstance(batch, Scored):
            loss, figures = self.losses(batch, part_of_mean, 1)
        else:
            with without_autocast_cache(self.device.type):  # which would keep weights that were cast without gradients
                loss, figures = self._accumulate(weighed(batch))
        self.latest = averages(figures)
        return loss

    def _accumulate(self, micros: Sequence[Micro]) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradients of all micro-batches but the last; return the loss of the last one, and all figures."""
        self.zero_grad()
        every, loss = [], torch.zeros(())
        for number, micro in enumerate(micros):
            loss, figures = self.losses(micro.batch, micro.mean, len(micros))
            every.append(figures)
            if number + 1 < len(micros):
                differentiate(self, loss)
        return loss, summed(every)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear gradients unless they are those of the first micro-batches, since Lightning clears after the step."""
        if self.config.trainer.accumulate == 1:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def logs_at(self, step: int) -> bool:
        """Return whether figures are logged after this many steps."""
        return step == 1 or step % self.config.trainer.log_every == 0 or step >= self.steps

    def figures(self) -> dict[str, float]:
        """Return the figures of the latest step. Waits for the GPU."""
        return {name: float(value) for name, value in self.latest.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trained parameters alone."""
        learnt = self.learnt
        checkpoint["state_dict"] = {name: x for name, x in checkpoint["state_dict"].items() if name in learnt}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let more steps follow than the checkpoint was to have, if the training got longer."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False

    def falling(self, step: int) -> float:
        """Return a factor on the learning rate that falls from 1 to 0 as half a cosine."""
        return (1 + math.cos(math.pi * min(1.0, step / self.steps))) / 2
