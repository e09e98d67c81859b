"""The state of the schedules at a training step, and the result of a step."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nas.budget.controller import Budget
from nas.data import Scored
from nas.options.training import RelaxationConfig
from nas.relaxations import interpolate


class Moment(NamedTuple):
    """The state of the schedules at one training step.

    Attributes:
        dense: whether the dense phase lasts.
        temperature: temperature of the relaxation.
        allowed: allowed relative cost.
        min_multiplier: minimum of the budget multiplier.
        route_dropout: probability that a chunk is kept whatever its router decides; None without route dropout.
        distillation: weight of the divergence from the model of the dense phase; None without distillation.
    """

    dense: bool
    temperature: float | Tensor
    allowed: float | Tensor
    min_multiplier: float | Tensor
    route_dropout: float | Tensor | None = None
    distillation: float | Tensor | None = None

    @classmethod
    def at(cls, progress: float, relaxation: RelaxationConfig, budget: Budget) -> "Moment":
        """Return the state of the schedules after a fraction of the training."""
        return cls(
            dense=budget.dense,
            temperature=interpolate(relaxation.temperature_start, relaxation.temperature_end, progress),
            allowed=budget.allowed(progress),
            min_multiplier=budget.min_multiplier(progress),
            route_dropout=budget.route_dropout(progress),
            distillation=budget.distillation(progress),
        )

    def buffered(self, device: torch.device) -> "Moment":
        """Return the moment with each number in a buffer on the device."""
        return Moment(self.dense, *(None if x is None else torch.full((), float(x), device=device) for x in self[1:]))  # type: ignore[arg-type]

    def fill(self, later: "Moment") -> None:
        """Write the numbers of another moment into the buffers of this one, which `buffered` made."""
        for buffer, value in zip(self[1:], later[1:], strict=True):
            if isinstance(buffer, Tensor) and value is not None:
                buffer.fill_(value)  # the launch carries the number, without a copy from the host


class Computed(NamedTuple):
    """Result of a step: the loss, and the figures of the step without gradients."""

    loss: Tensor
    figures: dict[str, Tensor]


Compute = Callable[[Scored, Moment], Computed]
