"""The LightningModule that trains every model: supernets with a budget, single architectures without routers."""

import math
from collections.abc import Iterator
from dataclasses import asdict

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from kernels.arguments import RouteGrad
from nas.architecture import Architecture
from nas.budget import Budget
from nas.config import RunConfig, TrainerConfig
from nas.data import IGNORE, Batch, Task
from nas.data.seeding import stable_seed
from nas.evaluation import evaluate, learnt, quality_of, softmax_weight, token_losses
from nas.models.language_model import LanguageModel
from nas.models.mixers import Policy, Routing
from nas.models.router import Router
from nas.relaxations import RELAXATIONS, interpolate


class TrainingStream(IterableDataset[Batch]):
    """The training batches of a task from a step on."""

    def __init__(self, task: Task, first_step: int, steps: int) -> None:
        self._task, self._first, self._steps = task, first_step, steps

    def __iter__(self) -> Iterator[Batch]:
        return map(self._task.train_batch, range(self._first, self._steps))

    def loader(self) -> DataLoader[Batch]:
        """For Lightning: batches as they are, drawn in this process."""
        return DataLoader(self, batch_size=None)


class TrainingModule(lightning.LightningModule):
    """Trains a language model on a task, and its routers under a budget if it has any.

    Everything random in a step follows from the seed and the step, so that a resumed run goes on as the
    uninterrupted one would have.
    """

    def __init__(
        self, architecture: Architecture, task: Task, config: RunConfig, route_grad: RouteGrad = "full"
    ) -> None:
        super().__init__()
        self.task, self.config = task, config
        torch.manual_seed(stable_seed(config.seed, "weights"))
        self.model = LanguageModel(architecture, route_grad)
        self.budget = Budget(**asdict(config.budget))
        self.latest: dict[str, float] = {}
        """The figures of the latest step."""
        self.seconds = 0.0
        """Wall time of the training, over all processes that took part in turn."""

    @property
    def progress(self) -> float:
        """Fraction of training done, in [0, 1]."""
        return self.global_step / self.config.trainer.steps

    def relaxed(self, layer: int, logits: Tensor) -> Tensor:
        """The policy of training: weights as the relaxation makes them at the temperature of this step."""
        r = self.config.relaxation
        temperature = interpolate(r.temperature_start, r.temperature_end, self.progress)
        return RELAXATIONS[r.name](logits, temperature)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        torch.manual_seed(stable_seed(self.config.seed, "step", self.global_step))
        scored = batch.targets != IGNORE
        output = self.model(batch.tokens, None if self.budget.dense else self.relaxed, scored)
        targets = batch.targets[scored]
        losses = token_losses(output.logits, targets)
        loss = losses.mean()
        correct = output.logits.detach().argmax(-1) == targets
        self.latest |= {
            "loss": loss.item(),
            self.task.quality: quality_of(self.task.quality, losses.detach(), correct).item(),
        }
        if self.model.architecture.routed_layers:
            loss = loss + self._budgeted(loss.detach(), output.routing)
        return loss

    def _budgeted(self, loss: Tensor, routing: dict[int, Routing]) -> Tensor:
        """The budget's part of the loss, and the next multiplier."""
        if self.budget.dense:
            share = loss.new_ones(())
        else:
            share = torch.stack([softmax_weight(decided).mean() for decided in routing.values()]).mean()
        self.budget.update(share.detach(), self.progress)
        self.budget.observe(loss, self.progress)
        self.latest |= {
            "share": share.item(),
            "budget": self.budget.allowed(self.progress),
            "multiplier": self.budget.multiplier.item(),
        }
        return self.budget.penalty(share)

    @property
    def policy(self) -> Policy | None:
        """The policy that was learnt; None where there is none, or not yet."""
        return None if self.budget.dense else learnt

    def validate(self) -> float:
        """Quality of what was learnt, on the validation batches."""
        return evaluate(self.model, self.task.validation_batches(), self.task.quality, self.policy).quality

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        trainer = self.config.trainer
        optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, trainer), lr=trainer.learning_rate, betas=(0.9, trainer.beta2)
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step, trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _parameter_groups(model: LanguageModel, trainer: TrainerConfig) -> list[dict[str, object]]:
    """Weight matrices with weight decay, vectors without, routers with a rate of their own and without.

    Routers get a larger eps: once a task is solved their gradients are tiny, and Adam would blow them up to full steps.
    """
    routers = [p for module in model.modules() if isinstance(module, Router) for p in module.parameters()]
    taken = {id(p) for p in routers}
    others = [p for p in model.parameters() if id(p) not in taken]
    groups: list[dict[str, object]] = [
        {"params": [p for p in others if p.ndim > 1], "weight_decay": trainer.weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if routers:
        groups.append(
            {
                "params": routers,
                "weight_decay": 0.0,
                "lr": trainer.router_learning_rate,
                "eps": trainer.router_eps,
            }
        )
    return groups


def _schedule(step: int, trainer: TrainerConfig) -> float:
    """Factor on the learning rates: linear warm-up, then half a cosine down to ``final_learning_rate``."""
    if step < trainer.warmup_steps:
        return (step + 1) / trainer.warmup_steps
    done = (step - trainer.warmup_steps) / max(1, trainer.steps - trainer.warmup_steps)
    cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return trainer.final_learning_rate + (1 - trainer.final_learning_rate) * cosine
