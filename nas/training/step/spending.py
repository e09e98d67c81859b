"""The cost of a training step, and how the budget changes with it."""

from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor

from nas.config import RunConfig
from nas.distributed.collectives import average
from nas.models.routing import Routing
from nas.relaxations import UNLEARNT
from nas.supernet.architecture_logits import Measured
from nas.supernet.supernet import Supernet
from nas.training.step.moment import Moment


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


class Spending(NamedTuple):
    """The budget of a training, and what its steps cost.

    Attributes:
        config: config of the run.
        supernet: what is trained.
        dense_layers: layers that are softmax attention in the dense phase, see `nas.supernet.dense_start`.
    """

    config: RunConfig
    supernet: Supernet
    dense_layers: Collection[int]

    def update(self, loss: Tensor, measured: Measured | None, moment: Moment) -> Spent | None:
        """Update the budget by a step, and return the cost of the step; None if nothing is searched.

        Args:
            loss: loss of the step in this process.
            measured: softmax shares of the step; None during the dense phase.
            moment: state of the schedules.
        """
        budget = self.supernet.budget
        if not self.supernet.searches:
            if self.dense_layers and moment.dense:
                budget.note(average(loss))
            return None
        spent = self.of(loss, measured)
        if measured is None:
            budget.note(average(loss))
        elif self._steered:
            noted = average(loss) if budget.watches_loss else None
            budget.update(
                average(spent.priced.detach()), moment.allowed, moment.min_multiplier, noted, moment.route_dropout
            )
        return spent

    def of(self, loss: Tensor, measured: Measured | None, update: bool = True) -> Spent:
        """Return the relative cost of a step; ``update`` says whether its shares change the running shares."""
        budget, cost, logits = self.supernet.budget, self.supernet.cost, self.supernet.architecture_logits
        hard = self.supernet.by_logits
        if measured is None:
            return Spent.of(loss.new_full((), budget.first))
        if budget.by_layer:
            costs = logits.cost_by_layer(cost, measured, hard, update)
            return Spent(costs.sum() + cost.relative(cost.fixed), budget.scaled(costs))
        if self._learns or logits.code is not None:
            return Spent.of(logits.cost(cost, measured, hard, update))
        return Spent.of(logits.routed_cost(cost, measured, update))

    def figures(self, spent: Spent) -> dict[str, Tensor]:
        """Return the figures of the budget in a step."""
        return {self.supernet.cost.figure: spent.total.detach(), "multiplier": self.supernet.budget.pressure}

    def measure_threshold(self, routing: dict[int, list[Routing]], figures: dict[str, Tensor], moment: Moment) -> None:
        """For an exact budget, set the distance by which routers move to the allowed cost after this step."""
        supernet = self.supernet
        if moment.dense or not (supernet.searches and supernet.budget.exact and supernet.by_logits):
            return
        cost = average(figures[supernet.cost.figure])
        threshold = supernet.architecture_logits.threshold(supernet.cost, routing, cost, moment.allowed)
        supernet.budget.move(average(threshold))  # the same in all processes, to the last bit

    @property
    def priced(self) -> bool:
        """Whether a trainable parameter affects the cost of a routed step."""
        space = self.supernet.space
        learns = self._learns and bool(space.choosing)
        return self.supernet.searches and (learns or (bool(space.routed) and self.supernet.by_logits))

    @property
    def _steered(self) -> bool:
        """Whether a routed step updates the multiplier: something that is trained or routed affects the cost."""
        return self._learns or bool(self.supernet.space.routed) or self.supernet.budget.by_layer

    @property
    def _learns(self) -> bool:
        """Whether architecture logits learn."""
        return self.config.relaxation.name not in UNLEARNT
