"""The LightningModule of the alignment."""

import math
from typing import ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter

from nas.config import SearchConfig
from nas.data import Scored, Task
from nas.distributed.devices import autocast
from nas.models.language_model import LanguageModel
from nas.runs.history import ERROR
from nas.training.alignment.errors import added_parameters, alignment_errors, options_to_align
from nas.training.alignment.scale import match_scales
from nas.training.stages.module import StageModule
from nas.training.step.losses import Mean

MATCHED = 4
"""Sequences of the first batch on which the scales of new operations are measured."""
SMALLEST = 1e-6
"""Relative squared error below which there is nothing left to learn."""


class AlignmentModule(StageModule):
    """Trains the parameters that operations add to a pretrained model to give the outputs of its layers.

    The other parameters are those of the pretrained model, which nothing changes. An error that is not finite raises an
    error.

    Args:
        model: model with the weights of the pretrained one.
        task: task on whose training batches the operations learn.
        config: config of the search.
        steps: steps of the alignment.
    """

    group: ClassVar[str] = "align"

    def __init__(self, model: LanguageModel, task: Task, config: SearchConfig, steps: int) -> None:
        super().__init__(model, task, config, steps)
        self.options = options_to_align(model)

    def on_train_start(self) -> None:
        """Give new operations the scale of their layers, unless the alignment is continued."""
        if self.global_step == 0:
            first = self.task.train_batch(0)
            documents = None if first.documents is None else first.documents[:MATCHED]
            few = first._replace(tokens=first.tokens[:MATCHED], targets=first.targets[:MATCHED], documents=documents)
            batch = few.scored().on(self.device)
            with autocast(self.device, self.config.trainer.precision):
                match_scales(self.model, batch.tokens, batch.documents)

    @property
    def learnt(self) -> dict[str, Parameter]:
        """The parameters that are trained, by name in this module."""
        return {f"model.{name}": parameter for name, parameter in added_parameters(self.model).items()}

    def losses(self, batch: Scored, mean: Mean, parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the logarithms of the errors, to which each layer contributes by itself, and all errors.

        Operations of a layer share parameters. With logarithms each of them counts by its relative improvement, however
        large its error is: that of a routed option, half of which is the original, is a small part of a linear one's.
        """
        errors = alignment_errors(self.model, self.options, batch.tokens, batch.documents)
        figures = {f"{ERROR}/layer_{layer}/{name}": x.detach() / parts for (layer, name), x in errors.items()}
        return torch.stack(list(errors.values())).clamp(min=SMALLEST).log().sum() / parts, figures

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
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.falling)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
