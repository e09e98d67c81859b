"""The LightningModule that trains every model: supernets with a budget, single architectures without routers."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from nas.budget.controller import BOTH, budgeted_cost, build_budget
from nas.config import RunConfig
from nas.data import Part, Scored, Task
from nas.data.seeding import seed_default, stable_seed
from nas.distributed.collectives import (
    average,
    average_over,
    averages,
    over_all_rows,
    own_rows,
    own_share,
    part_of_mean,
)
from nas.distributed.devices import autocast
from nas.distributed.launch import launched
from nas.evaluation.evaluate import evaluate
from nas.evaluation.metrics import quality_of, token_losses
from nas.evaluation.planted import Counts, Found, most_found
from nas.kernels.arguments import RouteGrad
from nas.models.language_model import LanguageModel
from nas.models.mixers import LayerChoice, Policy, Routing, first_alone
from nas.models.policies import both, drop_all, policy_of
from nas.relaxations import RELAXATIONS, SAMPLED, UNLEARNT, interpolate
from nas.runs.history import PROBABILITY
from nas.search_spaces.space import Space, option_name
from nas.supernet.architecture_logits import ArchitectureLogits, choices_of_layers
from nas.supernet.supernet import Supernet
from nas.training.cuda_graphs import Computed, Graphs, Moment, StaticStep, wanted
from nas.training.optimizer import parameter_groups, router_parameters, routers_of, schedule


def chooses(step: int) -> bool:
    """Whether a step of bilevel training is for choices (routers and logits of layers) rather than for weights."""
    return step % 2 == 1


class Validation(NamedTuple):
    """What validation during training tells.

    Attributes:
        quality: the task's figure of merit.
        found: precision and recall of the layer that finds most planted chunks, see
            `nas.evaluation.planted.most_found`; None if the task plants nothing, and while no layer routes. It need not
            be the layer that retrieves: to find that layer takes an evaluation for each.
    """

    quality: float
    found: Found | None


class TrainingStream(IterableDataset[Scored]):
    """The training batches of a task from a step on, this process's rows of them, as a model needs them."""

    def __init__(self, task: Task, first_step: int, steps: int, bilevel: bool = False) -> None:
        self._task, self._first, self._steps, self._bilevel = task, first_step, steps, bilevel

    def __iter__(self) -> Iterator[Scored]:
        for step in range(self._first, self._steps):
            part: Part = "all"
            if self._bilevel:
                part = "choices" if chooses(step) else "weights"
            yield own_rows(self._task.train_batch(step, part)).scored()

    def loader(self, pin_memory: bool) -> DataLoader[Scored]:
        """For Lightning: batches as they are, drawn in this process; pinned, they go to a GPU while it computes."""
        return DataLoader(self, batch_size=None, pin_memory=pin_memory)


class TrainingModule(lightning.LightningModule):
    """Trains a language model on a task: one architecture, or all of a space, with choices and routers in a budget.

    Everything random in a step follows from the seed and the step, so that a resumed run goes on as the
    uninterrupted one would have. A step hands its work to the GPU and goes on: nothing in it waits for a result, except
    that every ``log_every`` steps, while routing has not begun, the budget looks at the loss, and that a relaxation
    which computes one option alone has to know which.
    """

    def __init__(self, space: Space, task: Task, config: RunConfig, route_grad: RouteGrad = "full") -> None:
        super().__init__()
        self.space, self.task, self.config = space, task, config
        self._make_model = lambda: LanguageModel(space.sizes, route_grad, space.options)
        torch.manual_seed(stable_seed(config.seed, "weights"))
        self.model = self._make_model()
        self.add_module("choices", ArchitectureLogits(space))  # the name that checkpoints of earlier versions have
        self.cost = budgeted_cost(config.budget, space)
        self.budget = build_budget(config.budget, self.cost)
        if self.budget.starts_cheapest:
            self.architecture_logits.lean_to_cheapest(self.cost)
            for router in routers_of(self.model):
                router.lean_to_second()
        self.latest: dict[str, Tensor | float] = {}
        """The figures of the latest step, where they were computed; see `figures`."""
        self.seconds = 0.0
        """Wall time of the training, over all processes that took part in turn."""
        self.tokens = 0
        """That it was trained on, over all processes."""
        self.tokens_per_second: float | None = None
        """See `nas.training.throughput.Throughput`."""
        self._graphs: Graphs | None = None
        self._replayed: StaticStep | None = None

    @property
    def architecture_logits(self) -> ArchitectureLogits:
        """The logits of the searchable layers."""
        return cast("ArchitectureLogits", self.get_submodule("choices"))

    @property
    def supernet(self) -> Supernet:
        """What is trained, as it is now."""
        return Supernet(self.space, self.model, self.architecture_logits, self.cost, self.budget, self.config.seed)

    @property
    def progress(self) -> float:
        """Fraction of training done, in [0, 1]."""
        return self.global_step / self.config.trainer.steps

    def configure_model(self) -> None:
        """Lightning calls this once every process is there."""
        if self.device_mesh is not None:
            from nas.distributed.sharding import shard

            shard(self.model, self.model.blocks, self.device_mesh["data_parallel"])

    def collect(self) -> None:
        """Where the weights were sharded, give the first process a model with all of them, to be used as on its own."""
        if self.device_mesh is None:
            return
        from nas.distributed.sharding import whole

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
        if self.supernet.searches:
            self.budget.begin_in_time(self.progress, self.device.type == "cpu" or self.logs_at(self.global_step + 1))
            self.latest["budget"] = self.budget.allowed(self.progress)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the loss of the latest step; a replayed one is differentiated already."""
        if self._replayed is None:
            super().backward(loss, *args, **kwargs)
        else:
            self._replayed.hand_over_gradients()

    def on_after_backward(self) -> None:
        """Before the optimiser: thresholds move for an exact budget, and in bilevel training some parameters rest."""
        if self.budget.exact and not self.budget.dense:
            for router in routers_of(self.model):
                router.move_threshold(self.budget.shift)
        if self.config.trainer.bilevel:
            self._rest()

    def _rest(self) -> None:
        """First-order bilevel training: weights learn in one step, choices in the next, each from their own batches."""
        chosen = {id(p) for p in (*router_parameters(self.model), *self.architecture_logits.parameters())}
        choosing = chooses(self.global_step)
        for parameter in self.parameters():
            if (id(parameter) in chosen) != choosing:
                parameter.grad = None

    def on_train_end(self) -> None:
        self._graphs = self._replayed = None  # with the memory that they hold

    def compute(self, batch: Scored, moment: Moment) -> Computed:
        """What a step computes up to the loss: on the batch's device, without waiting for it or knowing the step."""
        policy, layer_choices = self._start
        if not moment.dense:
            policy = self._relaxed(moment)
            relaxation = self.config.relaxation
            layer_choices = self.architecture_logits.layer_choices(
                relaxation.name, moment.temperature, relaxation.pairs
            )
        output = self.model(batch.tokens, policy, batch.places, layer_choices)
        logits = output.logits.flatten(0, -2)
        losses = token_losses(logits, batch.targets)
        loss = part_of_mean(losses)
        correct = logits.detach().argmax(-1) == batch.targets
        measure = self.task.quality
        quality = quality_of(measure, losses.detach(), correct, len(batch.tokens), part_of_mean)
        figures = {"loss": loss.detach(), measure: quality}
        if self.supernet.searches:
            cost = self._budgeted(loss.detach(), output.routing, moment)
            figures |= {self.cost.figure: cost.detach(), "multiplier": self.budget.multiplier}
            loss = loss + self.budget.penalty(cost)
        return Computed(loss, averages(figures))

    def _relaxed(self, moment: Moment) -> Policy:
        """The policy of a step: what was drawn of the routers' logits, or what is given at the allowed share."""
        if self.model.architecture.given_routing is not None:
            return policy_of(self.model.architecture, moment.allowed)
        relaxation = RELAXATIONS[self.config.relaxation.router or self.config.relaxation.name]
        return lambda layer, logits: over_all_rows(lambda rows: relaxation(rows, moment.temperature), logits)

    def _budgeted(self, loss: Tensor, routing: dict[int, list[Routing]], moment: Moment) -> Tensor:
        """The relative cost of a step, of which the budget takes note."""
        if moment.dense:
            self.budget.note(average(loss))
            return loss.new_full((), self.budget.first)
        by_logits = self.space.sizes.given_routing is None
        if self.config.relaxation.name not in UNLEARNT:
            cost = self.architecture_logits.cost(self.cost, routing, hard=by_logits)
        else:
            cost = self.architecture_logits.routed_cost(self.cost, routing)
            if not self.space.routed:
                return cost  # nobody answers for it
        self.budget.update(average(cost.detach()), moment.allowed, moment.min_multiplier)
        if self.budget.exact and by_logits:
            self.budget.move(
                average(self.architecture_logits.threshold(self.cost, routing, cost.detach(), moment.allowed))
            )
        return cost

    def _moment(self) -> Moment:
        """The schedules at this step."""
        r, progress = self.config.relaxation, self.progress
        return Moment(
            dense=self.budget.dense,
            temperature=interpolate(r.temperature_start, r.temperature_end, progress),
            allowed=self.budget.allowed(progress),
            min_multiplier=self.budget.min_multiplier(progress),
        )

    def _recorded(self, batch: Scored, moment: Moment) -> StaticStep | None:
        """The CUDA graph for this step, where there is one: not where the host has to know what was drawn."""
        relaxation = self.config.relaxation
        drawn = self.space.choosing and not moment.dense and (relaxation.pairs or relaxation.name in SAMPLED)
        if drawn or not self.model.capturable or not wanted(self.config.trainer, batch.tokens):
            return None
        if self._graphs is None:
            state = [*self.budget.buffers(), *self.architecture_logits.buffers()]
            self._graphs = Graphs(self.compute, list(self.parameters()), state)
        return self._graphs.find(batch, moment)

    def logs_at(self, step: int) -> bool:
        """Whether the figures are read after this many steps."""
        return step % self.config.trainer.log_every == 0 or step >= self.config.trainer.steps

    def figures(self) -> dict[str, float]:
        """The figures of the latest step and how probable a layer's options are, as numbers: a GPU is waited for."""
        return {name: float(value) for name, value in self.latest.items()} | self._probabilities()

    def _probabilities(self) -> dict[str, float]:
        """By layer and option; none where nothing learns to choose."""
        if self.config.relaxation.name in UNLEARNT:
            return {}
        return {
            f"{PROBABILITY}/layer_{layer}/{option_name(option)}": probability
            for layer in self.space.choosing
            for option, probability in zip(
                self.space.options[layer], self.architecture_logits.probabilities(layer).tolist(), strict=True
            )
        }

    @property
    def _start(self) -> tuple[Policy, list[LayerChoice]]:
        """What layers are before anything is chosen."""
        if self.budget.starts_cheapest:
            return drop_all, choices_of_layers(self.cost.cheapest)
        return both if self.config.budget.start == BOTH else first_alone, choices_of_layers(self.cost.densest)

    def autocast(self) -> torch.autocast:
        """Mixed precision as in training, where that is mixed; for all that is measured beside it."""
        return autocast(self.device, self.config.trainer.precision)

    def validate(self) -> Validation:
        """What was learnt, on the validation batches: shared out, if there are several processes."""
        batches = own_share(self.task.validation_batches())
        dense = self.budget.dense
        with self.autocast():
            policy = self._start[0] if dense else self.supernet.policy
            result = evaluate(self.model, batches, self.task.quality, policy, choices_of_layers(self.supernet.code))
        quality = average_over(batches, result.quality, self.device)
        if dense or not result.counts_by_layer:
            return Validation(quality, None)
        counts = torch.tensor(list(result.counts_by_layer.values()), dtype=torch.float32, device=self.device)
        found = most_found([Counts(*layer) for layer in average(counts).tolist()])
        return Validation(quality, found)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        trainer = self.config.trainer
        optimizer = torch.optim.AdamW(
            parameter_groups(self.model, self.architecture_logits, trainer),
            lr=trainer.learning_rate,
            betas=(0.9, trainer.beta2),
            fused=True if self.device.type == "cuda" and trainer.precision != "16-mixed" else None,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, trainer))
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
