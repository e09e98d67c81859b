"""The LightningModule that trains every model: supernets with a budget, single architectures without routers."""

import math
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.distributed.tensor.experimental import implicit_replication
from torch.optim import Optimizer

from nas.budget.build import budgeted_cost, build_budget
from nas.budget.cost import SpaceCost
from nas.config import BudgetConfig, RunConfig, SearchConfig
from nas.data import Scored, Task, byte_lengths_of
from nas.data.seeding import seed_default, stable_seed
from nas.distributed.context import group as contexts
from nas.distributed.context.group import Context
from nas.distributed.devices import autocast
from nas.distributed.launch import launched
from nas.distributed.replicas import average_gradients, averages_afterwards
from nas.errors import user_errors
from nas.kernels.arguments import RouteGrad
from nas.latency.obtain import latencies_of
from nas.latency.table import Latencies
from nas.models.language_model import LanguageModel
from nas.models.recording import without_autocast_cache
from nas.models.router import FeatureGrad
from nas.search_spaces.space import Code, Space
from nas.supernet.architecture_logits import ArchitectureLogits
from nas.supernet.dense_start import with_softmax
from nas.supernet.placement import LATEST, Placement
from nas.supernet.supernet import Supernet
from nas.training.batches import Given, check_longer
from nas.training.figures import probabilities, shares
from nas.training.graphs.recorded_steps import RecordedSteps
from nas.training.step.accumulation import differentiate, weighed
from nas.training.step.compiled import Compiled
from nas.training.step.computation import Step
from nas.training.step.distillation import Teacher
from nas.training.step.losses import Losses
from nas.training.step.moment import Moment
from nas.training.step.routes import Routes
from nas.training.step.spending import Spending
from nas.training.step.stretches import check_documents, check_stretches
from nas.training.updates.average import Average
from nas.training.updates.bilevel import clear_unused_gradients
from nas.training.updates.optimizer import build_optimizer, routers_of, schedule
from nas.training.validation import Validated, Validation, validate


def selects_early(config: RunConfig) -> bool:
    """Return whether a run selects an architecture during training."""
    return isinstance(config, SearchConfig) and config.searcher.select_at < 1


class Part(NamedTuple):
    """What one architecture that is trained alone has of its space.

    Attributes:
        cost: its cost, relative to its own most expensive routing.
        before: layers that are routed or searchable in the space.
        restart: number of its initial weights, from 0.
    """

    cost: SpaceCost
    before: tuple[int, ...]
    restart: int = 0


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
        part: what a module of one architecture has of the space that it is taken from; see `TrainingModule.alone`.
    """

    def __init__(
        self,
        space: Space,
        task: Task,
        config: RunConfig,
        route_grad: RouteGrad = "full",
        dense_layers: Collection[int] = (),
        placement: Placement | None = None,
        part: Part | None = None,
    ) -> None:
        super().__init__()
        self._dense_layers, self.placement, self._part = dense_layers, placement, part
        options = with_softmax(space.options, dense_layers) if placement is None else placement.options
        self.grain = check_stretches(config, options)
        """Tokens of which the length of every training sequence is a multiple."""
        self.space, self.task, self.config = space, task, config
        self._make_model = lambda: LanguageModel(space.sizes, route_grad, options)
        restart = () if part is None or part.restart == 0 else (part.restart,)
        torch.manual_seed(stable_seed(config.seed, "weights", *restart))
        self.model = self._make_model()
        if isinstance(config, SearchConfig):
            for router in routers_of(self.model):
                router.feature_grad = cast("FeatureGrad", config.space.feature_grad)
        check_documents(config, task)
        check_longer(config, task)
        if not self.model.packs and task.train_batch(0).documents is not None:
            with user_errors():
                self.model.check_packing()
        logits = ArchitectureLogits(space, selects_early(config))
        self.add_module("choices", logits)  # the name that checkpoints of earlier versions have
        if part is None:
            self.limit(latencies_of(config.budget, config.trainer, space.sizes, options, config.resume))
        else:
            most = part.cost.most if part.cost.latencies is not None else math.inf  # a table must reach its target
            self._use(part.cost, replace(config.budget, target=min(config.budget.target, most)))
        if self.budget.starts_cheapest:
            self.architecture_logits.lean_to_cheapest(self.cost)
            for router in routers_of(self.model):
                router.lean_to_second()
        distils = config.budget.distillation > 0 and self.supernet.searches
        self.teacher = Teacher(self.model, *self.routes.start) if distils else None
        self.original_weight = config.align.distillation if isinstance(config, SearchConfig) else 0.0
        self.original = Teacher.of_original(self.model) if self.original_weight else None
        self.byte_lengths: Tensor | None
        self.register_buffer("byte_lengths", byte_lengths_of(task), persistent=False)  # moves to the device
        self.averaged = Average(self.model, config.trainer.ema) if config.trainer.ema else None
        self.validated: Validated | None = None
        """Result of the latest validation."""
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
        self._compiled = Compiled(len(self.model.blocks)) if config.trainer.compile else None
        self.context: Context | None = None
        """The processes that share each training sequence; None if there are none."""
        self.recorded = RecordedSteps(config.trainer)

    def limit(self, latencies: Latencies | None) -> None:
        """Set the cost and the budget, before training.

        Args:
            latencies: latency table; None unless the resource of the budget is latency.
        """
        self._use(budgeted_cost(self.config.budget, self.space, latencies), self.config.budget)

    def _use(self, cost: SpaceCost, budget: BudgetConfig) -> None:
        self.cost = cost
        self.budget = build_budget(budget, cost)

    def alone(self, code: Code, restart: int = 0) -> "TrainingModule":
        """Return the untrained module of one architecture of the space, with the budget of the space.

        Pretrained weights are those of this module.

        Args:
            code: code of the architecture.
            restart: number of its initial weights, from 0.
        """
        part = Part(self.cost.alone(code), tuple(self.supernet.counted), restart)
        module = TrainingModule(self.space.alone(code), self.task, self.config, self.model.route_grad, part=part)
        if self.config.model.path is not None:
            module.model.load_state_dict(self.model.inherit(self.space.decode(code)).state_dict())
        return module

    @property
    def architecture_logits(self) -> ArchitectureLogits:
        """The logits of the searchable layers."""
        return cast("ArchitectureLogits", self.get_submodule("choices"))

    @property
    def supernet(self) -> Supernet:
        """The supernet at this step of training."""
        before = () if self._part is None else self._part.before
        return Supernet(
            self.space, self.model, self.architecture_logits, self.cost, self.budget, self.config.seed, before
        )

    @property
    def placed(self) -> Supernet:
        """The supernet after training: without the routers of layers that the placement has changed."""
        if self.placement is None or not self.placement.changed:
            return self.supernet
        return self.supernet.placed(self.placement.space, self.placement.code)

    @property
    def routes(self) -> Routes:
        """The policies and layer choices of this step of training."""
        return Routes(self.config, self.supernet, self._dense_layers, self.placement)

    @property
    def step(self) -> Step:
        """What this step of training computes."""
        losses = Losses(
            self.task.quality,
            self.byte_lengths,
            self._compiled,
            self.context,
            self.teacher,
            self.original,
            self.original_weight,
        )
        return Step(self.routes, losses, Spending(self.config, self.supernet, self._dense_layers))

    @property
    def moment(self) -> Moment:
        """The state of the schedules at this step of training."""
        return Moment.at(self.progress, self.config.relaxation, self.budget)

    def _place_in_time(self) -> None:
        """Make the placement once routes have settled; recorded steps compute the layers as they were before."""
        placement = self.placement
        if placement is None or placement.decided or self.budget.dense:
            return
        if self.progress >= min(self.config.budget.settle_from, LATEST):
            cost = self.cost.for_space(placement.space)
            placement.decide(self.architecture_logits.shares, cost, self.budget.target)
            self.recorded.whole = None

    @property
    def progress(self) -> float:
        """Fraction of training done, in [0, 1]."""
        return self.global_step / self.config.trainer.steps

    @property
    def settled(self) -> bool:
        """Whether this step trains the model that the run is to find: routing has begun, at the cost of the budget."""
        if not self.supernet.searches:
            return not (self._dense_layers and self.budget.dense)
        decisions = (self.placement, self.architecture_logits.selected)
        decided = all(one is None or one.decided for one in decisions)
        return decided and not self.budget.dense and self.budget.allowed(self.progress) == self.budget.target

    @property
    def evaluated(self) -> LanguageModel:
        """The model by which a training is evaluated: the average of the weights if there is one."""
        return self.model if self.averaged is None else self.averaged.model

    def start_copies(self) -> None:
        """Copy the weights with which training begins to the average and to the frozen original, if there are any."""
        if self.averaged is not None:
            self.averaged.start(self.model)
        if self.original is not None:
            self.original.keep(self.model)

    def use_average(self) -> None:
        """Replace the weights of the model by their average, if there is one."""
        if self.averaged is not None:
            self.model.load_state_dict(self.averaged.model.state_dict())

    def configure_model(self) -> None:
        """Form the groups of processes; shard the model if the strategy has a device mesh.

        Lightning calls this once all processes run.
        """
        if self.config.trainer.context_parallel > 1:
            self.context = contexts.form(self.config.trainer.context_parallel)
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

    def training_step(self, batch: Given, index: int) -> Tensor:
        self._place_in_time()
        self.model.share(self.context)  # until the backward pass is over: all else is of whole sequences
        step, moment = self.step, self.moment
        if self._compiled:
            moment = moment.buffered(self.device)  # a compiled block would be made for each number
        if isinstance(batch, Scored):
            replayed = self.recorded.find(step, batch, moment)
            self._seed()
            loss, figures = (replayed or step.compute)(batch, moment)
        else:
            with without_autocast_cache(self.device.type):  # which would keep weights that were cast without gradients
                self.zero_grad()
                loss, figures = step.accumulate(weighed(batch), moment, self._seed, partial(differentiate, self))
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
        self.recorded.discard()
        if self.budget.dense:
            self.budget.begin((self.global_step - 1) / self.config.trainer.steps)  # the step before was the last one

    def _seed(self) -> None:
        """Seed the random numbers of this step; each micro-batch draws those of the whole batch."""
        seed_default(self.device, self.config.seed, "step", self.global_step)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear gradients unless they are those of the first micro-batches, since Lightning clears after the step."""
        if self.config.trainer.accumulate == 1:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Update the weights, and then their average."""
        super().optimizer_step(*args, **kwargs)
        if self.averaged is not None:
            self.averaged.update(self.model, self.global_step + 1)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the loss of the latest step; a replayed step already has its gradients."""
        if self.recorded.latest is None:
            super().backward(loss, *args, **kwargs)
        else:
            self.recorded.latest.hand_over_gradients()
        if averages_afterwards(self.config.trainer):
            average_gradients(self.parameters())

    def on_after_backward(self) -> None:
        """Move router thresholds for an exact budget, and clear gradients that bilevel training does not use."""
        self.model.share(None)
        if self.budget.exact and not self.budget.dense:
            with implicit_replication():  # biases that fsdp shards take their part of a whole tensor
                for router in routers_of(self.model):
                    router.move_threshold(self.budget.shift)
        if self.config.trainer.bilevel:
            clear_unused_gradients(self.parameters(), self.model, self.architecture_logits, self.global_step)

    def on_train_end(self) -> None:
        self.recorded.release()

    def _begin_routing_in_time(self) -> None:
        """End the dense phase if it is time, and keep the weights at its end as those of the teacher.

        If the phase goes on and draws options from now on, its steps are recorded anew.
        """
        was_dense, drew = self.budget.dense, self.budget.draws_dense
        self.budget.begin_in_time(self.progress, self.device.type == "cpu" or self.logs_at(self.global_step + 1))
        if self.budget.draws_dense and not drew:
            self.recorded.discard()
        if self.teacher is not None and was_dense and not self.budget.dense:
            self.teacher.keep(self.model)

    def logs_at(self, step: int) -> bool:
        """Return whether figures are logged after this many steps."""
        return step % self.config.trainer.log_every == 0 or step >= self.config.trainer.steps

    def figures(self) -> dict[str, float]:
        """Return the figures of the latest step, and probabilities and shares by layer, as numbers.

        Waits for the GPU.
        """
        figures = {name: float(value) for name, value in self.latest.items()}
        figures |= probabilities(self.supernet, self.config.relaxation.name)
        return figures | (shares(self.supernet) if self.latest else {})

    def autocast(self) -> torch.autocast:
        """Return the autocast of training, for evaluations during it."""
        return autocast(self.device, self.config.trainer.precision)

    def validate(self) -> Validation:
        """Evaluate the present architecture on the validation batches, which the processes share."""
        dense = self.budget.dense
        policy, choices = self.routes.start if dense else (self.supernet.policy, self.routes.present)
        result = validate(self.evaluated, self.task, policy, choices, self.autocast(), finds=not dense)
        self.validated = Validated(self.global_step, result.quality)
        return result

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        trainer = self.config.trainer
        optimizer = build_optimizer(self.model, self.architecture_logits, trainer, self.device.type == "cuda")
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
            with implicit_replication():  # fsdp shards the model, but not the architecture logits
                torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
