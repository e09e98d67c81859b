"""The LightningModule that trains every model: supernets with a budget, single architectures without routers."""

from collections.abc import Collection, Iterator
from statistics import fmean
from typing import Any, NamedTuple, cast

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset

from nas.budget.build import budgeted_cost, build_budget
from nas.budget.checks import BOTH
from nas.config import RunConfig, SearchConfig
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
from nas.models.language_model import LanguageModel, RunBlock, recompute_block, run_block
from nas.models.mixers import LayerChoice, Policy, Routing, first_alone
from nas.models.policies import both, drop_all, policy_of
from nas.relaxations import RELAXATIONS, SAMPLED, UNLEARNT, interpolate, keep_at_random
from nas.runs.history import PROBABILITY, SHARE
from nas.search_spaces.space import Code, Space, option_name
from nas.supernet.architecture_logits import ArchitectureLogits, Measured, RunDraw, choices_of_layers, run_draw
from nas.supernet.dense_start import as_softmax, with_softmax
from nas.supernet.placement import LATEST, Placement
from nas.supernet.supernet import Supernet
from nas.training.block_graphs import BlockGraphs
from nas.training.cuda_graphs import Computed, Graphs, Moment, StaticStep, wanted
from nas.training.distillation import Teacher
from nas.training.drawn_steps import DrawnStep, DrawnSteps, Parts
from nas.training.optimizer import parameter_groups, router_parameters, routers_of, schedule

DISTILLATION = "distillation"
"""Name of the logged divergence from the model of the dense phase."""


def selects_early(config: RunConfig) -> bool:
    """Return whether a run selects an architecture during training."""
    return isinstance(config, SearchConfig) and config.searcher.select_at < 1


def chooses(step: int) -> bool:
    """Return whether a step of bilevel training updates routers and architecture logits, and not the weights."""
    return step % 2 == 1


class Validation(NamedTuple):
    """Result of a validation during training.

    Attributes:
        quality: quality in the measure of the task.
        found: precision and recall of planted chunks in the layer with the largest F1, see
            `nas.evaluation.planted.most_found`. None if the task plants nothing, and during the dense phase. It may not
            be the layer that retrieves, which takes one evaluation per layer to find.
    """

    quality: float
    found: Found | None


class Spent(NamedTuple):
    """The relative cost of a step.

    Attributes:
        total: cost of all layers.
        priced: what the multiplier applies to: the same, or the scaled cost [layers] of each layer.
    """

    total: Tensor
    priced: Tensor

    @classmethod
    def of(cls, cost: Tensor) -> "Spent":
        """Return the cost of a step under one multiplier."""
        return cls(cost, cost)


class TrainingStream(IterableDataset[Scored]):
    """The scored training batches of a task from a given step on, with the rows of this process."""

    def __init__(self, task: Task, first_step: int, steps: int, bilevel: bool = False) -> None:
        self._task, self._first, self._steps, self._bilevel = task, first_step, steps, bilevel

    def __iter__(self) -> Iterator[Scored]:
        for step in range(self._first, self._steps):
            part: Part = "all"
            if self._bilevel:
                part = "choices" if chooses(step) else "weights"
            yield own_rows(self._task.train_batch(step, part)).scored()

    def loader(self, pin_memory: bool) -> DataLoader[Scored]:
        """Return a loader that yields the batches unchanged. Pinned memory lets copies overlap computation."""
        return DataLoader(self, batch_size=None, pin_memory=pin_memory)


class TrainingModule(lightning.LightningModule):
    """Trains a language model on a task: one architecture, or a supernet with routers and architecture logits.

    All random numbers of a step follow from the seed and the step. A resumed run therefore ends as an uninterrupted run
    does.

    A step does not wait for the GPU, with two exceptions. During the dense phase, the budget reads the loss every
    ``log_every`` steps. A step that draws its options by architecture logits reads which were drawn.

    Args:
        space: search space; a single architecture is a space without searchable layers.
        task: task to train on.
        config: config of the run.
        route_grad: chunks whose routes get a gradient, "full" or "selected".
        dense_layers: layers of a single architecture that are softmax attention in the dense phase, although the
            architecture has another operation there; see `nas.supernet.dense_start`.
        placement: placement of layers whose routers decide nothing; None if all layers keep their routers.
    """

    def __init__(
        self,
        space: Space,
        task: Task,
        config: RunConfig,
        route_grad: RouteGrad = "full",
        dense_layers: Collection[int] = (),
        placement: Placement | None = None,
    ) -> None:
        super().__init__()
        self._dense_layers, self.placement = dense_layers, placement
        options = with_softmax(space.options, dense_layers) if placement is None else placement.options
        self.space, self.task, self.config = space, task, config
        self._make_model = lambda: LanguageModel(space.sizes, route_grad, options)
        torch.manual_seed(stable_seed(config.seed, "weights"))
        self.model = self._make_model()
        self.add_module(
            "choices", ArchitectureLogits(space, selects_early(config))
        )  # the name that checkpoints of earlier versions have
        self.cost = budgeted_cost(config.budget, space)
        self.budget = build_budget(config.budget, self.cost)
        if self.budget.starts_cheapest:
            self.architecture_logits.lean_to_cheapest(self.cost)
            for router in routers_of(self.model):
                router.lean_to_second()
        distils = config.budget.distillation > 0 and self.supernet.searches
        self.teacher = Teacher(self.model, *self._start) if distils else None
        self.latest: dict[str, Tensor | float] = {}
        """Figures of the latest step, on the device; see `figures`."""
        self.seconds = 0.0
        """Wall time of the training in seconds, including earlier parts of a resumed run."""
        self.tokens = 0
        """Number of training tokens, over all processes."""
        self.diverged_at: int | None = None
        """Step at which training stopped because the loss or a weight was not finite; None otherwise."""
        self.tokens_per_second: float | None = None
        """See `nas.training.throughput.Throughput`."""
        self._graphs: Graphs | None = None
        self._drawn_steps: DrawnSteps | None = None
        self._recordable = True
        self._replayed: StaticStep | DrawnStep | None = None

    @property
    def architecture_logits(self) -> ArchitectureLogits:
        """The logits of the searchable layers."""
        return cast("ArchitectureLogits", self.get_submodule("choices"))

    @property
    def supernet(self) -> Supernet:
        """The supernet at this step of training."""
        return Supernet(self.space, self.model, self.architecture_logits, self.cost, self.budget, self.config.seed)

    @property
    def placed(self) -> Supernet:
        """The supernet after training: without the routers of layers that the placement has changed."""
        if self.placement is None or not self.placement.changed:
            return self.supernet
        return self.supernet.placed(self.placement.space, self.placement.code)

    @property
    def layer_choices(self) -> list[LayerChoice]:
        """The layer choices of the present architecture."""
        return self._placed(choices_of_layers(self.supernet.code))

    def _placed(self, choices: list[LayerChoice]) -> list[LayerChoice]:
        return choices if self.placement is None else self.placement.placed(choices)

    def _place_in_time(self) -> None:
        """Make the placement once routes have settled; recorded steps compute the layers as they were before."""
        placement = self.placement
        if placement is None or placement.decided or self.budget.dense:
            return
        if self.progress >= min(self.config.budget.settle_from, LATEST):
            cost = budgeted_cost(self.config.budget, placement.space)
            placement.decide(self.architecture_logits.shares, cost, self.budget.target)
            self._graphs = None

    @property
    def progress(self) -> float:
        """Fraction of training done, in [0, 1]."""
        return self.global_step / self.config.trainer.steps

    def configure_model(self) -> None:
        """Shard the model if the strategy has a device mesh; Lightning calls this once all processes run."""
        if self.device_mesh is not None:
            from nas.distributed.sharding import shard

            shard(self.model, self.model.blocks, self.device_mesh["data_parallel"])

    def collect(self) -> None:
        """Replace the model of the first process by one with all weights, if the weights are sharded."""
        if self.device_mesh is None:
            return
        from nas.distributed.sharding import whole

        weights = whole(self.model.state_dict())
        if launched().first:
            self.model = self._make_model()
            self.model.load_state_dict(weights)

    def training_step(self, batch: Scored, index: int) -> Tensor:
        self._place_in_time()
        moment = self._moment()
        self._replayed = self._recorded(batch, moment)
        seed_default(self.device, self.config.seed, "step", self.global_step)
        loss, figures = (self._replayed or self.compute)(batch, moment)
        self.latest |= figures
        if self.supernet.searches or self._dense_layers:
            self._begin_routing_in_time()
        if self.supernet.searches:
            self.latest["budget"] = self.budget.allowed(self.progress)
        return loss

    def settle(self, code: Code, within: bool) -> None:
        """Train one architecture of the space alone from this step on; the searchable layers draw nothing any more.

        If the dense phase has drawn the options of the layers, it ends.

        Args:
            code: code of the architecture.
            within: whether it is within the budget.
        """
        selected = self.architecture_logits.selected
        assert selected is not None
        selected.keep(code)
        selected.within.fill_(within)
        self._graphs = self._drawn_steps = None
        if self.budget.dense:
            self.budget.begin((self.global_step - 1) / self.config.trainer.steps)  # the step before was the last one

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the loss of the latest step; a replayed step already has its gradients."""
        if self._replayed is None:
            super().backward(loss, *args, **kwargs)
        else:
            self._replayed.hand_over_gradients()

    def on_after_backward(self) -> None:
        """Move router thresholds for an exact budget, and clear gradients that bilevel training does not use."""
        if self.budget.exact and not self.budget.dense:
            for router in routers_of(self.model):
                router.move_threshold(self.budget.shift)
        if self.config.trainer.bilevel:
            self._clear_unused_gradients()

    def _clear_unused_gradients(self) -> None:
        """Keep the gradients of the weights, or of routers and architecture logits, in alternate steps."""
        chosen = {id(p) for p in (*router_parameters(self.model), *self.architecture_logits.parameters())}
        choosing = chooses(self.global_step)
        for parameter in self.parameters():
            if (id(parameter) in chosen) != choosing:
                parameter.grad = None

    def on_train_end(self) -> None:
        self._recordable = self._drawn_steps is None or not self._drawn_steps.failed
        self._graphs = self._drawn_steps = self._replayed = None  # frees their memory

    def compute(self, batch: Scored, moment: Moment) -> Computed:
        """Compute the loss and figures of a step on the batch's device, without waiting for it."""
        policy, layer_choices = self._start
        if not moment.dense:
            policy = self._relaxed(moment)
        if not moment.dense or self.budget.starts_drawn:
            layer_choices = self._drawn(moment)
        run: RunBlock = recompute_block if self.config.trainer.activation_checkpointing else run_block
        output = self.model(batch.tokens, policy, batch.places, layer_choices, run)
        measured = None if moment.dense else self.architecture_logits.measured(output.routing)
        loss, figures = self._scored(output.logits, batch, measured, moment)
        self._measure_threshold(output.routing, figures, moment)
        return Computed(loss, averages(figures))

    def _drawn(self, moment: Moment, run: RunDraw = run_draw) -> list[LayerChoice]:
        """Return what each layer computes in a routed step; ``run`` calls the draw."""
        relaxation = self.config.relaxation
        logits = self.architecture_logits
        return self._placed(logits.layer_choices(relaxation.name, moment.temperature, relaxation.pairs, run))

    def _scored(self, logits: Tensor, batch: Scored, measured: Measured | None, moment: Moment) -> Computed:
        """Return the loss and the figures of a step, before any average over processes, and update the budget.

        Args:
            logits: logits of the scored tokens.
            batch: tokens and targets.
            measured: softmax shares of the step; None during the dense phase.
            moment: state of the schedules.
        """
        logits = logits.flatten(0, -2)
        losses = token_losses(logits, batch.targets)
        loss = part_of_mean(losses)
        correct = logits.detach().argmax(-1) == batch.targets
        measure = self.task.quality
        quality = quality_of(measure, losses.detach(), correct, len(batch.tokens), part_of_mean)
        figures = {"loss": loss.detach(), measure: quality}
        if self.supernet.searches:
            cost = self._budgeted(loss.detach(), measured, moment)
            figures |= {self.cost.figure: cost.total.detach(), "multiplier": self.budget.pressure}
            loss = loss + self.budget.penalty(cost.priced, moment.route_dropout)
        elif self._dense_layers and moment.dense:
            self.budget.note(average(loss.detach()))
        if self.teacher is not None and moment.distillation is not None and not moment.dense:
            divergence = part_of_mean(self.teacher.divergence(logits, batch))
            figures[DISTILLATION] = divergence.detach()
            loss = loss + moment.distillation * divergence
        return Computed(loss, figures)

    def _begin_routing_in_time(self) -> None:
        """End the dense phase if it is time, and keep the weights at its end as those of the teacher."""
        was_dense = self.budget.dense
        self.budget.begin_in_time(self.progress, self.device.type == "cpu" or self.logs_at(self.global_step + 1))
        if self.teacher is not None and was_dense and not self.budget.dense:
            self.teacher.keep(self.model)

    def _relaxed(self, moment: Moment) -> Policy:
        """Return the policy of a step: a relaxation of the router logits, or the fixed routing at the allowed share.

        During the dense phase, routers are not used.
        """
        if moment.dense:
            return first_alone
        if self.model.architecture.given_routing is not None:
            return policy_of(self.model.architecture, moment.allowed)
        relaxation = RELAXATIONS[self.config.relaxation.router or self.config.relaxation.name]

        def weigh(rows: Tensor) -> Tensor:
            weights = relaxation(rows, moment.temperature)
            return weights if moment.route_dropout is None else keep_at_random(weights, moment.route_dropout)

        return lambda layer, logits: over_all_rows(weigh, logits)

    def _budgeted(self, loss: Tensor, measured: Measured | None, moment: Moment) -> Spent:
        """Return the relative cost of a step, and update the budget with it."""
        if measured is None or moment.dense:
            self.budget.note(average(loss))
            return Spent.of(loss.new_full((), self.budget.first))
        if self.budget.by_layer:
            costs = self.architecture_logits.cost_by_layer(self.cost, measured, hard=self._by_logits)
            cost = Spent(costs.sum() + self.cost.relative(self.cost.fixed), self.budget.scaled(costs))
        elif self.config.relaxation.name not in UNLEARNT or self.architecture_logits.code is not None:
            cost = Spent.of(self.architecture_logits.cost(self.cost, measured, hard=self._by_logits))
        else:
            cost = Spent.of(self.architecture_logits.routed_cost(self.cost, measured))
            if not self.space.routed:
                return cost  # no trainable parameter affects it
        noted = average(loss) if self.budget.watches_loss else None
        self.budget.update(
            average(cost.priced.detach()), moment.allowed, moment.min_multiplier, noted, moment.route_dropout
        )
        return cost

    def _measure_threshold(self, routing: dict[int, list[Routing]], figures: dict[str, Tensor], moment: Moment) -> None:
        """For an exact budget, set the distance by which routers move to the allowed cost after this step."""
        if moment.dense or not (self.supernet.searches and self.budget.exact and self._by_logits):
            return
        cost = figures[self.cost.figure]
        self.budget.move(average(self.architecture_logits.threshold(self.cost, routing, cost, moment.allowed)))

    @property
    def _by_logits(self) -> bool:
        """Whether router logits decide which chunks are softmax: no routing is given."""
        return self.space.sizes.given_routing is None

    def _moment(self) -> Moment:
        """Return the state of the schedules at this step."""
        r, progress = self.config.relaxation, self.progress
        return Moment(
            dense=self.budget.dense,
            temperature=interpolate(r.temperature_start, r.temperature_end, progress),
            allowed=self.budget.allowed(progress),
            min_multiplier=self.budget.min_multiplier(progress),
            route_dropout=self.budget.route_dropout(progress),
            distillation=self.budget.distillation(progress),
        )

    def _recorded(self, batch: Scored, moment: Moment) -> StaticStep | DrawnStep | None:
        """Return the CUDA graphs of this step; None if graphs are off or too many shapes were recorded."""
        if not self._records(batch.tokens):
            return None
        if self._draws and (self.budget.starts_drawn or not moment.dense):
            if self._drawn_steps is None:
                self._drawn_steps = DrawnSteps(self._parts, batch.tokens.device)
            return self._drawn_steps.find(batch, moment)
        if self._graphs is None:
            self._graphs = Graphs(self.compute, list(self.parameters()), self._state)
        return self._graphs.find(batch, moment)

    def _records(self, tokens: Tensor) -> bool:
        """Return whether computations on batches like these tokens are recorded as CUDA graphs."""
        return self.model.capturable and wanted(self.config.trainer, tokens)

    @property
    def recordings(self) -> int:
        """Number of recorded steps and parts of steps."""
        return sum(recorded.count for recorded in (self._graphs, self._drawn_steps) if recorded is not None)

    @property
    def _parts(self) -> Parts:
        """The parts of a step that draws its options."""
        return Parts(
            self.model,
            self.architecture_logits,
            self._drawn,
            self._relaxed,
            self._scored,
            self._measure_threshold,
            self._state,
        )

    @property
    def _state(self) -> list[Tensor]:
        """Tensors that a step changes in place."""
        return [*self.budget.buffers(), *self.architecture_logits.buffers()]

    @property
    def _draws(self) -> bool:
        """Whether the host draws which options a routed step computes."""
        relaxation, selected = self.config.relaxation, self.architecture_logits.code is not None
        return bool(self.space.choosing and not selected and (relaxation.pairs or relaxation.name in SAMPLED))

    def scoring_run(self, tokens: Tensor) -> RunBlock:
        """Return how blocks are called to score architectures on batches like these tokens: as CUDA graphs if wanted.

        A search that draws no options needs no graphs, and where a recording has failed in training, none is tried.
        """
        recorded = self._draws and self._recordable and self._records(tokens)
        return BlockGraphs(tokens.device) if recorded else run_block

    def logs_at(self, step: int) -> bool:
        """Return whether figures are logged after this many steps."""
        return step % self.config.trainer.log_every == 0 or step >= self.config.trainer.steps

    def figures(self) -> dict[str, float]:
        """Return the figures of the latest step, and probabilities and shares by layer, as numbers.

        Waits for the GPU.
        """
        return {name: float(value) for name, value in self.latest.items()} | self._probabilities() | self._shares()

    def _shares(self) -> dict[str, float]:
        """Return the running softmax share of each routed layer, over its options with a router; empty at the start."""
        if not self.latest or not self._by_logits:
            return {}
        running = self.architecture_logits.shares.tolist()
        return {
            f"{SHARE}/layer_{layer}": fmean(
                share for option, share in zip(self.space.options[layer], running[layer], strict=False) if option.routed
            )
            for layer in self.space.routed
        }

    def _probabilities(self) -> dict[str, float]:
        """Return the probabilities by layer and option; empty if architecture logits do not learn."""
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
        """The policy and the layer choices of the dense phase."""
        if self.budget.starts_cheapest:
            return drop_all, choices_of_layers(self.cost.cheapest)
        policy = both if self.config.budget.start == BOTH else first_alone
        return policy, as_softmax(choices_of_layers(self.cost.densest), self._dense_layers)

    def autocast(self) -> torch.autocast:
        """Return the autocast of training, for evaluations during it."""
        return autocast(self.device, self.config.trainer.precision)

    def validate(self) -> Validation:
        """Evaluate the present architecture on the validation batches, which the processes share."""
        batches = own_share(self.task.validation_batches())
        dense = self.budget.dense
        with self.autocast():
            policy, choices = self._start if dense else (self.supernet.policy, self.layer_choices)
            result = evaluate(self.model, batches, self.task.quality, policy, choices)
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
        """Clip gradients by norm. Lightning refuses this for fused optimisers, although bfloat16 needs no unscaling."""
        if gradient_clip_val:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
