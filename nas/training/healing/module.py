"""The LightningModule of the healing."""

from typing import ClassVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import Parameter

from nas.config import SearchConfig
from nas.data import Scored, Task
from nas.models.language_model import LanguageModel
from nas.models.routing import Policy, first_alone
from nas.runs.history import HIDDEN, ORIGINAL
from nas.training.alignment.errors import relative_error
from nas.training.batches import TrainingStream
from nas.training.healing.errors import hidden_states, predictions, without_gradient
from nas.training.stages.module import StageModule
from nas.training.step.distillation import divergence
from nas.training.step.losses import Mean
from nas.training.updates.optimizer import router_parameters

WARM_UP = 20
"""The learning rate rises over one in so many steps, at the start and where the loss changes."""


class HealingModule(StageModule):
    """Trains a model to have the hidden states of a frozen one after each layer, and then its predictions.

    Routers stay as they are: without a budget in the loss they would keep every chunk, as the teacher does. Their
    routes pass no gradient on either.

    Args:
        model: model of one architecture.
        teacher: frozen pretrained model.
        task: task on whose training batches the model learns, from the batch after the last one of the search.
        config: config of the search.
        steps: steps of the healing.
        policy: policy of the model.
    """

    group: ClassVar[str] = "heal"

    def __init__(
        self,
        model: LanguageModel,
        teacher: LanguageModel,
        task: Task,
        config: SearchConfig,
        steps: int,
        policy: Policy,
    ) -> None:
        super().__init__(model, task, config, steps)
        self.teacher, self._policy = teacher, without_gradient(policy)
        self.hidden_steps = round(config.heal.hidden * steps)
        """Steps that learn hidden states."""

    @property
    def learnt(self) -> dict[str, Parameter]:
        """The parameters that are trained, by name in this module: all but those of routers."""
        routers = {id(parameter) for parameter in router_parameters(self.model)}
        return {f"model.{name}": p for name, p in self.model.named_parameters() if id(p) not in routers}

    def stream(self, first_step: int) -> TrainingStream:
        """Return batches that the search has not had, of longer sequences if the options say so."""
        trained, factor = self.config.trainer.steps, self.config.heal.length_factor
        return TrainingStream(
            self.task,
            trained + first_step,
            trained + self.steps,
            accumulate=self.config.trainer.accumulate,
            longer_from=0.0 if factor > 1 else 1.0,
            longer=factor,
        )

    def losses(self, batch: Scored, mean: Mean, parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean error of the layers, or the divergence; at logged steps both are among the figures."""
        learns_hidden, logged = self.global_step < self.hidden_steps, self.logs_at(self.global_step + 1)
        every, reads = learns_hidden or logged, logged or not learns_hidden
        recomputes = self.config.trainer.activation_checkpointing
        with torch.no_grad():
            taught = hidden_states(self.teacher, batch, first_alone, every)
        own = hidden_states(self.model, batch, self._policy, every, recomputes)
        figures, terms = dict[str, Tensor](), list[Tensor]()
        if every:
            with torch.set_grad_enabled(learns_hidden):
                errors = [relative_error(y, target) / parts for y, target in zip(own, taught, strict=True)]
            figures |= {f"{HIDDEN}/layer_{layer}": error.detach() for layer, error in enumerate(errors)}
            terms = errors if learns_hidden else []
        if reads:
            divergences = self._divergences(own[-1], taught[-1], batch, mean, learns_hidden)
            figures[ORIGINAL] = divergences[0].detach()
            terms = terms or divergences[1:]
        loss = torch.stack(terms).mean()
        return loss, figures | {"loss": loss.detach()}

    def _divergences(self, own: Tensor, taught: Tensor, batch: Scored, mean: Mean, learns_hidden: bool) -> list[Tensor]:
        """Return the divergence from the teacher's predictions, and that at the temperature of the options."""
        temperature = self.config.heal.temperature
        with torch.no_grad():
            expected = predictions(self.teacher, taught, batch)
        with torch.set_grad_enabled(not learns_hidden):
            logits = predictions(self.model, own, batch)
            softened = mean(divergence(logits, expected, temperature))
        if temperature == 1:
            return [softened, softened]
        with torch.no_grad():
            return [mean(divergence(logits, expected)), softened]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW without weight decay; its learning rate warms up for each loss and falls as half a cosine."""
        betas = 0.9, self.config.trainer.beta2
        optimizer = torch.optim.AdamW(
            self.learnt.values(), lr=self.config.heal.learning_rate, betas=betas, weight_decay=0.0
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def factor(self, step: int) -> float:
        """Return the factor on the learning rate of a step."""
        begun = 0 if step < self.hidden_steps else self.hidden_steps
        return self.falling(step) * min(1.0, (step - begun + 1) * WARM_UP / self.steps)
