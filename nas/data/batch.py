"""What every task hands to training and evaluation."""

from typing import Literal, NamedTuple, Protocol

import torch.nn.functional as F
from torch import Tensor

IGNORE = -100
"""Target of a position that is not scored."""

HIGHER = {"recall": True, "accuracy": True, "exact_match": True, "bits_per_byte": False}
"""Figures of merit that a task may have, and whether more of one is better; see `nas.evaluation.metrics.quality_of`."""

Part = Literal["all", "weights", "choices"]
"""Which training data: all of it, or one of two parts without a common sequence, in bilevel training."""


class Scored(NamedTuple):
    """A batch as a model needs it: where to predict, and what.

    Found out before a batch goes to a GPU: there, to select by a mask is to wait until the mask is known.

    Attributes:
        tokens: [B, T] int64 input tokens.
        places: [n] int64, the scored positions in the flattened tokens; None where all of them are.
        targets: [n] int64, the token to predict at each of them.
    """

    tokens: Tensor
    places: Tensor | None
    targets: Tensor


class Batch(NamedTuple):
    """One batch of sequences.

    Attributes:
        tokens: [B, T] int64 input tokens.
        targets: [B, T] int64, the token to predict at each position, or IGNORE.
        planted: [B, T] bool, True on tokens that state what is asked for later; None where a task plants nothing.
    """

    tokens: Tensor
    targets: Tensor
    planted: Tensor | None

    def scored(self) -> Scored:
        """The batch without what a model does not need."""
        targets = self.targets.flatten()
        mask = targets != IGNORE
        if mask.all():
            return Scored(self.tokens, None, targets)
        places = mask.nonzero().flatten()
        return Scored(self.tokens, places, targets[places])


def planted_chunks(planted: Tensor, chunk_size: int) -> Tensor:
    """[B, T] planted tokens to [B, N] chunks that hold any."""
    chunks = F.pad(planted, (0, -planted.shape[1] % chunk_size))
    return chunks.unflatten(1, (-1, chunk_size)).any(-1)


class Task(Protocol):
    """A stream of training batches and a fixed set to validate on, both functions of the seed alone."""

    name: str
    vocab_size: int
    quality: str
    """Name of the figure of merit, one of `HIGHER`."""

    def train_batch(self, step: int, part: Part = "all") -> Batch:
        """The training batch of a step (from 0): the same for the same seed and step, whatever came before."""
        ...

    def full_batch(self, step: int) -> Batch:
        """A batch of the training data at full length and difficulty, where training has others too."""
        ...

    def validation_batches(self, length_factor: int = 1) -> list[Batch]:
        """The fixed validation batches, their sequences ``length_factor`` times as long as in training."""
        ...

    def selection_batches(self, count: int) -> list[Batch]:
        """Other batches like those to validate on, to choose by: final figures are of what nothing was chosen by."""
        ...

    def token_text(self, token: int) -> str:
        """How a token is shown to people."""
        ...
