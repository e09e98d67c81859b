"""The loss and the quality of a training step, from the logits of its scored tokens."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nas.data import Scored
from nas.distributed.collectives import average
from nas.distributed.context.group import Context
from nas.evaluation.metrics import quality_of, token_losses
from nas.runs.history import ORIGINAL
from nas.training.step.compiled import Compiled
from nas.training.step.distillation import Teacher
from nas.training.step.moment import Computed, Moment
from nas.training.step.stretches import correct_sequences

DISTILLATION = "distillation"
"""Name of the logged divergence from the model of the dense phase."""


Mean = Callable[[Tensor], Tensor]
"""Maps values of scored tokens, or of sequences, to what they add to the mean over the step."""


class Losses(NamedTuple):
    """How a training computes losses.

    Attributes:
        measure: measure of quality of the task.
        byte_lengths: [vocab] bytes of each token; None if they are not known.
        compiled: the compiled loss; None if steps are not compiled.
        context: the processes that share each sequence; None if there are none.
        teacher: the model of the dense phase; None without distillation.
        original: the pretrained model; None without distillation of it.
        original_weight: weight of the divergence from it.
    """

    measure: str
    byte_lengths: Tensor | None
    compiled: Compiled | None
    context: Context | None
    teacher: Teacher | None
    original: Teacher | None = None
    original_weight: float = 0.0

    def bytes_per_token(self, parts: Sequence[tuple[Scored, Mean]]) -> Tensor | None:
        """Return the mean bytes of the scored tokens of a step, in all its parts; None if their bytes are not known."""
        if self.byte_lengths is None:
            return None
        each = [mean(self.byte_lengths[batch.targets.clamp(min=0)].float()) for batch, mean in parts]
        return average(torch.stack(each).sum()).clamp(min=torch.finfo(torch.float32).tiny)

    def of(self, logits: Tensor, batch: Scored, mean: Mean, bytes_per_token: Tensor | None) -> Computed:
        """Return the mean loss of scored tokens, and loss and quality as figures."""
        logits = logits.flatten(0, -2)
        losses = (self.compiled.token_losses if self.compiled else token_losses)(logits, batch.targets)
        loss = mean(losses)
        correct = logits.detach().argmax(-1) == batch.targets
        if self.context is not None and self.measure == "exact_match":
            correct = correct_sequences(self.context, correct, batch)
        quality = quality_of(self.measure, losses.detach(), correct, len(batch.tokens), mean, bytes_per_token)
        return Computed(loss, {"loss": loss.detach(), self.measure: quality})

    def distilled(
        self, loss: Tensor, logits: Tensor, batch: Scored, moment: Moment, figures: dict[str, Tensor], mean: Mean
    ) -> Tensor:
        """Return the loss with the divergences from the teachers, if any, and add them to the figures."""
        if self.original is not None:
            divergence = mean(self.original.divergence(logits.flatten(0, -2), batch))
            figures[ORIGINAL] = divergence.detach()
            loss = loss + self.original_weight * divergence
        if self.teacher is None or moment.distillation is None or moment.dense:
            return loss
        divergence = mean(self.teacher.divergence(logits.flatten(0, -2), batch))
        figures[DISTILLATION] = divergence.detach()
        return loss + moment.distillation * divergence
