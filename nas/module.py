"""The LightningModule that trains every model: supernets with a budget, single architectures without routers."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from kernels.arguments import RouteGrad
from nas.architecture import Architecture
from nas.budget import Budget
from nas.config import RunConfig, TrainerConfig
from nas.data import Scored, Task
from nas.data.seeding import seed_default, stable_seed
from nas.distributed import average, average_over, averages, over_all_rows, own_rows, own_share, part_of_mean
from nas.evaluation import evaluate, learnt, quality_of, softmax_weight, token_losses
from nas.graphs import Computed, Graphs, Moment, StaticStep, wanted
from nas.launch import launched
from nas.models.language_model import LanguageModel
from nas.models.mixers import Policy, Routing
from nas.models.router import Router
from nas.relaxations import RELAXATIONS, interpolate, precise


class TrainingStream(IterableDataset[Scored]):
    """The training batches of a task from a step on, this process's rows of them, as a model needs them."""

    def __init__(self, task: Task, first_step: int, steps: int) -> None:
        self._task, self._first, self._steps = task, first_step, steps

    def __iter__(self) -> Iterator[Scored]:
        return (own_rows(self._task.train_batch(step)).scored() for step in range(self._first, self._steps))

    def loader(self, pin_memory: bool) -> DataLoader[Scored]:
        """For Lightning: batches as they are, drawn in this process; pinned, they go to a GPU while it computes."""
        return DataLoader(self, batch_size=None, pin_memory=pin_memory)


class TrainingModule(lightning.LightningModule):
    """Trains a language model on a task, and its routers under a budget if it has any.

    Everything random in a step follows from the seed and the step, so that a resumed run goes on as the
    uninterrupted one would have. A step hands its work to the GPU and goes on: nothing in it waits for a result, except
    that every ``log_every`` steps, while routing has not begun, the budget looks at the loss.
    """

    def __init__(
        self, architecture: Architecture, task: Task, config: RunConfig, route_grad: RouteGrad = "full"
    ) -> None:
        super().__init__()
        self.task, self.config = task, config
        self._make_model = lambda: LanguageModel(architecture, route_grad)
        torch.manual_seed(stable_seed(config.seed, "weights"))
        self.model = self._make_model()
        self.budget = Budget(**asdict(config.budget))
        self.latest: dict[str, Tensor | float] = {}
        """The figures of the latest step, where they were computed; see `figures`."""
        self.seconds = 0.0
        """Wall time of the training, over all processes that took part in turn."""
        self.tokens_per_second: float | None = None
        """See `nas.throughput.Throughput`."""
        self._graphs: Graphs | None = None
        self._replayed: StaticStep | None = None

    @property
    def progress(self) -> float:
        """Fraction of training done, in [0, 1]."""
        return self.global_step / self.config.trainer.steps

    def configure_model(self) -> None:
        """Lightning calls this once every process is there."""
        if self.device_mesh is not None:
            from nas.sharding import shard

            shard(self.model, self.model.blocks, self.device_mesh["data_parallel"])

    def collect(self) -> None:
        """Where the weights were sharded, give the first process a model with all of them, to be used as on its own."""
        if self.device_mesh is None:
            return
        from nas.sharding import whole

        weights = whole(self.model.state_dict())
        if launched().first:
            self.model = self._make_model()
            self.model.load_state_dict(weights)

    def training_step(self, batch: Scored, index: int) -> Tensor:
        moment = self._moment()
        self._replayed = self._recorded(batch, moment)
        seed_default(self.device, self.config.seed, "step", self.global_step)
        loss, figures = (self._replayed or self.compute)(batch, moment)
        self.latest |= figures
        if self.model.architecture.routed_layers:
            self.budget.begin_in_time(self.progress, self.device.type == "cpu" or self.logs_at(self.global_step + 1))
            self.latest["budget"] = self.budget.allowed(self.progress)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the loss of the latest step; a replayed one is differentiated already."""
        if self._replayed is None:
            super().backward(loss, *args, **kwargs)
        else:
            self._replayed.hand_over_gradients()

    def on_train_end(self) -> None:
        self._graphs = self._replayed = None  # with the memory that they hold

    def compute(self, batch: Scored, moment: Moment) -> Computed:
        """What a step computes up to the loss: on the batch's device, without waiting for it or knowing the step."""

        def relaxed(layer: int, logits: Tensor) -> Tensor:
            relax = RELAXATIONS[self.config.relaxation.name]
            return over_all_rows(lambda rows: relax(rows, moment.temperature), logits)

        output = self.model(batch.tokens, None if moment.dense else relaxed, batch.places)
        logits = output.logits.flatten(0, -2)
        losses = token_losses(logits, batch.targets)
        loss = part_of_mean(losses)
        correct = logits.detach().argmax(-1) == batch.targets
        figures = {
            "loss": loss.detach(),
            self.task.quality: quality_of(self.task.quality, losses.detach(), correct, part_of_mean),
        }
        if self.model.architecture.routed_layers:
            share = self._budgeted(loss.detach(), output.routing, moment)
            figures |= {"share": share.detach(), "multiplier": self.budget.multiplier}
            loss = loss + self.budget.penalty(share)
        return Computed(loss, averages(figures))

    def _budgeted(self, loss: Tensor, routing: dict[int, Routing], moment: Moment) -> Tensor:
        """The share of a step, of which the budget takes note."""
        if moment.dense:
            self.budget.note(average(loss))
            return loss.new_ones(())
        share = torch.stack([precise(softmax_weight(decided)).mean() for decided in routing.values()]).mean()
        self.budget.update(average(share.detach()), moment.allowed, moment.least)
        return share

    def _moment(self) -> Moment:
        """The schedules at this step."""
        r, progress = self.config.relaxation, self.progress
        return Moment(
            dense=self.budget.dense,
            temperature=interpolate(r.temperature_start, r.temperature_end, progress),
            allowed=self.budget.allowed(progress),
            least=self.budget.least(progress),
        )

    def _recorded(self, batch: Scored, moment: Moment) -> StaticStep | None:
        """The CUDA graph for this step, where there is one."""
        if not wanted(self.config.trainer, batch.tokens):
            return None
        if self._graphs is None:
            self._graphs = Graphs(self.compute, list(self.model.parameters()), list(self.budget.buffers()))
        return self._graphs.find(batch, moment)

    def logs_at(self, step: int) -> bool:
        """Whether the figures are read after this many steps."""
        return step % self.config.trainer.log_every == 0 or step >= self.config.trainer.steps

    def figures(self) -> dict[str, float]:
        """The figures of the latest step, as numbers: a GPU is waited for."""
        return {name: float(value) for name, value in self.latest.items()}

    @property
    def policy(self) -> Policy | None:
        """The policy that was learnt; None where there is none, or not yet."""
        return None if self.budget.dense else learnt

    def autocast(self) -> torch.autocast:
        """Mixed precision as in training, where that is mixed; for all that is measured beside it."""
        precision = self.config.trainer.precision
        dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=precision.endswith("-mixed"))

    def validate(self) -> float:
        """Quality of what was learnt, on the validation batches: shared out, if there are several processes."""
        batches = own_share(self.task.validation_batches())
        with self.autocast():
            quality = evaluate(self.model, batches, self.task.quality, self.policy).quality
        return average_over(batches, quality, self.device)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        trainer = self.config.trainer
        optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, trainer),
            lr=trainer.learning_rate,
            betas=(0.9, trainer.beta2),
            fused=True if self.device.type == "cuda" and trainer.precision != "16-mixed" else None,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _schedule(step, trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By norm. Lightning refuses to with a fused optimiser, though bfloat16 has nothing to unscale before."""
        if gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)


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
