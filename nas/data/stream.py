"""The base of tasks that generate their sequences: an endless stream in which each batch has its own seed.

Difficulty is drawn per training batch; validation and selection use full difficulty.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from nas.data.batch import Batch, Part
from nas.data.seeding import generator
from nas.errors import UserError


class Stream(ABC):
    """The batches of a `nas.data.batch.Task`; a subclass defines how a batch is drawn.

    Args:
        batch_size: sequences in a batch.
        validation_batches: number of validation batches.
        seed: seed of all random draws.
    """

    name: str
    quality: str

    def __init__(self, *, batch_size: int, validation_batches: int, seed: int) -> None:
        self._batch_size, self._validation_batches, self._seed = batch_size, validation_batches, seed

    @abstractmethod
    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        """Draw ``size`` sequences of a part of the training data, at a random difficulty."""

    @abstractmethod
    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        """Draw ``size`` sequences at full difficulty, ``length_factor`` times as long, of held-out or training data."""

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """Return the training batch of a step: tokens [B, T] at a difficulty drawn for this batch."""
        random = generator(self._seed, self.name, "train" if part == "all" else part, step)
        return self._draw_training(self._batch_size, part, random)

    def full_batch(self, step: int) -> Batch:
        """Return a batch of training data at full length and difficulty, as in validation."""
        return self._draw_hardest(self._batch_size, 1, False, generator(self._seed, self.name, "full", step))

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """Return batches at full difficulty, ``length_factor`` times as long; longer ones have fewer sequences."""
        size = max(1, self._batch_size // length_factor)
        return self._held_out("validation", self._validation_batches, size, length_factor)

    def selection_batches(self, count: int, length_factor: int = 1) -> list[Batch]:
        """Return batches like the validation batches of that length, none of which is a validation batch."""
        return self._held_out("selection", count, max(1, self._batch_size // length_factor), length_factor)

    def _held_out(self, use: str, count: int, size: int, length_factor: int) -> list[Batch]:
        """Return ``count`` batches of ``size`` sequences at full difficulty, the same for the same use."""
        return [
            self._draw_hardest(size, length_factor, True, generator(self._seed, self.name, use, length_factor, index))
            for index in range(count)
        ]


def halvings(name: str, full: int, least: int) -> list[int]:
    """Return full, full / 2, ... down to ``least``; raise UserError if the full value of option ``name`` is less."""
    if least > full:
        raise UserError(f"data.min_{name}={least} is more than data.{name}={full}; give at most {full}.")
    levels = [full]
    while levels[-1] // 2 >= least:
        levels.append(levels[-1] // 2)
    return levels


GRAIN = 64
"""The default minimum length is a multiple of this."""


def training_lengths(length: int, min_length: int | None, needed: int, what: str, advice: str = "") -> list[int]:
    """Return the lengths of training batches: the full one, its halvings, and the minimum.

    Args:
        length: number of tokens of the longest sequences.
        min_length: number of tokens of the shortest ones; None for the smallest multiple of `GRAIN` that is enough.
        needed: smallest number of tokens that a sequence can have.
        what: what needs them, as text for messages.
        advice: what else would do, as text for messages.

    Raises:
        UserError: a length is too short.
    """
    for option, given in (("length", length), ("min_length", min_length)):
        if given is not None and given < needed:
            raise UserError(f"data.{option}={given} has no room for {what}; give at least {needed}{advice}.")
    least = min(length, -(-needed // GRAIN) * GRAIN) if min_length is None else min_length
    lengths = halvings("length", length, least)
    return lengths if lengths[-1] == least else [*lengths, least]


def pick(levels: Sequence[int], random: torch.Generator) -> int:
    """Draw one of several levels of difficulty, uniformly."""
    return levels[int(torch.randint(len(levels), (), generator=random))]


def spread(blocks: int, block_size: int, length: int, size: int, random: torch.Generator) -> Tensor:
    """Draw the starts [size, blocks] of disjoint blocks in ``length`` tokens, in increasing order.

    A block may start at any token: every placement is equally likely.
    """
    free = length - blocks * block_size
    places = torch.rand(size, free + blocks, generator=random).topk(blocks).indices.sort(1).values
    return places + torch.arange(blocks) * (block_size - 1)
