"""The LightningModule of the alignment."""

import math
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer

from nas.config import SearchConfig
from nas.data import Scored, Task
from nas.data.seeding import seed_default
from nas.distributed.collectives import averages
from nas.models.language_model import LanguageModel
from nas.models.recording import without_autocast_cache
from nas.runs.history import ERROR
from nas.training.alignment.errors import added_parameters, alignment_errors, options_to_align
from nas.training.batches import Given
from nas.training.step.accumulation import differentiate, summed

SMALLEST = 1e-6
"""Relative squared error below which there is nothing left to learn."""


class AlignmentModule(lightning.LightningModule):
    """Trains the parameters that operations add to a pretrained model to give the outputs of its layers.

    All random numbers of a step follow from the seed and the step. Checkpoints have the added parameters alone: the
    others are those of the pretrained model, which nothing changes.

    Args:
        model: model with the weights of the pretrained one.
        task: task on whose training batches the operations learn.
        config: config of the search.
        steps: steps of the alignment.
    """

    diverged_at: int | None = None
    """None: an error that is not finite raises an error."""

    def __init__(self, model: LanguageModel, task: Task, config: SearchConfig, steps: int) -> None:
        super().__init__()
        self.model, self.task, self.config, self.steps = model, task, config, steps
        self.strict_loading = False
        self.options = options_to_align(model)
        self.latest: dict[str, Tensor] = {}
        """Errors of the latest step on the device, by the names of `figures`."""

    @property
    def learnt(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that are trained, by name in this module."""
        return {f"model.{name}": parameter for name, parameter in added_parameters(self.model).items()}

    def training_step(self, batch: Given, index: int) -> Tensor:
        """Return the sum of the logarithms of the errors, to which each layer contributes by itself.

        Operations of a layer share parameters. With logarithms each of them counts by its relative improvement, however
        large its error is: that of a routed option, half of which is the original, is a small part of a linear one's.
        """
        seed_default(self.device, self.config.seed, "align", self.global_step)
        if isinstance(batch, Scored):
            loss, figures = self._errors(batch)
        else:
            with without_autocast_cache(self.device.type):  # which would keep weights that were cast without gradients
                loss, figures = self._accumulate(batch.batches)
        self.latest = averages(figures)
        return loss

    def _errors(self, batch: Scored, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what a micro-batch adds to the loss of a step, and to its figures."""
        errors = alignment_errors(self.model, self.options, batch.tokens, batch.documents)
        figures = {f"{ERROR}/layer_{layer}/{name}": x.detach() / parts for (layer, name), x in errors.items()}
        return torch.stack(list(errors.values())).clamp(min=SMALLEST).log().sum() / parts, figures

    def _accumulate(self, batches: list[Scored]) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradients of all micro-batches but the last; return the loss of the last one, and all figures."""
        self.zero_grad()
        every, loss = [], torch.zeros(())
        for number, batch in enumerate(batches):
            loss, figures = self._errors(batch, len(batches))
            every.append(figures)
            if number + 1 < len(batches):
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
        """Return the errors of the latest step by layer and operation. Waits for the GPU."""
        return {name: float(value) for name, value in self.latest.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the trained parameters alone."""
        learnt = self.learnt
        checkpoint["state_dict"] = {name: x for name, x in checkpoint["state_dict"].items() if name in learnt}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let more steps follow than the checkpoint was to have, if the training got longer."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW without weight decay, whose learning rate falls to 0 as half a cosine.

        Adam moves each weight by the learning rate, and an output of a matrix by up to the sum over its inputs. Rates
        of matrices are therefore divided by the square root of that number.
        """
        rate = self.config.align.learning_rate
        groups = [
            {"params": [parameter], "lr": rate / math.sqrt(parameter.shape[1]) if parameter.ndim > 1 else rate}
            for parameter in self.learnt.values()
        ]
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / self.steps))) / 2
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
