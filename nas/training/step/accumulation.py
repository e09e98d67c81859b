"""Gradient accumulation: the batch of a training step is computed in several micro-batches, which need less memory.

The micro-batches of a step are consecutive sequences of its batch, in equal parts. Everything else sees one step: the
budget, schedules, random numbers, checkpoints and curves are those of the whole batch. The loss of the step is the mean
over its scored tokens, so a micro-batch counts by the number of its scored tokens. The penalty of the budget is a mean
over chunks, so there it counts by the number of its chunks.

The multiplier of a step follows from the cost of the whole step, and each gradient contains the multiplier. A search
with routers therefore measures all micro-batches before it differentiates the first one. This takes one forward pass
more, in routed steps alone.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import lightning
import torch
from torch import Tensor

from nas.data import IGNORE, Batch, Scored
from nas.distributed.collectives import Place, own_place, part_of_mean, parts_of_scored, rows_at
from nas.models.routing import Routing


class Split(NamedTuple):
    """The batch of a step in micro-batches.

    Attributes:
        batches: the micro-batches. One without scored tokens has a single target, `IGNORE`.
        scored: number of scored tokens of each.
    """

    batches: list[Scored]
    scored: list[int]


class Micro(NamedTuple):
    """A micro-batch of a step.

    Attributes:
        batch: its tokens and targets.
        place: place of its sequences in the batch of the step.
        weight: its share of the scored tokens of the step, over all processes.
    """

    batch: Scored
    place: Place
    weight: float | Tensor

    def mean(self, values: Tensor) -> Tensor:
        """Return what values of its scored tokens, or of its sequences, add to the mean of the step."""
        return part_of_mean(values) * self.weight


def split(batch: Batch, count: int) -> Split:
    """Return this process's sequences of a batch in so many micro-batches."""
    batches = [rows_at(batch, own_place().within(index, count)).scored() for index in range(count)]
    scored = [len(one.targets) for one in batches]
    return Split([one if number else _unscored(one) for one, number in zip(batches, scored, strict=True)], scored)


def _unscored(batch: Scored) -> Scored:
    """Return a micro-batch without scored tokens with one place, since a model computes at least one."""
    return batch._replace(places=torch.zeros(1, dtype=torch.long), targets=torch.full((1,), IGNORE))


def weighed(given: Split) -> list[Micro]:
    """Return the micro-batches of a step with their weights."""
    weights = parts_of_scored(given.scored, given.batches[0].tokens.device)
    count = len(given.batches)
    return [
        Micro(batch, own_place().within(index, count), weight)
        for index, (batch, weight) in enumerate(zip(given.batches, weights, strict=True))
    ]


def joined(routings: Sequence[dict[int, list[Routing]]]) -> dict[int, list[Routing]]:
    """Return the routings of a step from those of its micro-batches, without gradients."""
    together = {
        layer: [Routing.joined([routing[layer][index] for routing in routings]) for index in range(len(decided))]
        for layer, decided in routings[0].items()
    }
    return {
        layer: [one._replace(logits=one.logits.detach(), weights=one.weights.detach()) for one in decided]
        for layer, decided in together.items()
    }


def parts_of_chunks(routings: Sequence[dict[int, list[Routing]]]) -> list[float]:
    """Return the share of each micro-batch in the chunks of a step: those of its first router.

    Packed chunks count by their tokens, of which all micro-batches have the same number.
    """
    first = [next((own[0] for own in routing.values()), None) for routing in routings]
    counts = [1 if one is None or one.tokens is not None else one.logits.numel() for one in first]
    return [count / sum(counts) for count in counts]


def differentiate(module: lightning.LightningModule, loss: Tensor) -> None:
    """Add the gradients of a micro-batch, scaled as Lightning scales those of the last one."""
    scaler = None if module._trainer is None else getattr(module.trainer.precision_plugin, "scaler", None)
    with torch.autocast(module.device.type, enabled=False):
        (loss if scaler is None else scaler.scale(loss)).backward()


def summed(figures: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the sum of each figure over the micro-batches of a step."""
    total: dict[str, Tensor] = {}
    for own in figures:
        total = {name: value + total[name] if name in total else value for name, value in own.items()}
    return total
