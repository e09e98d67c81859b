"""The processes that share a sequence, and the place of this process among them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed import ProcessGroup

from nas.distributed.launch import launched


@dataclass(frozen=True)
class Context:
    """The processes that share a sequence. They hold stretches of equal length, in the order of their ranks.

    Attributes:
        rank: rank of this process among them, the index of its stretch.
        size: number of processes and stretches.
        group: their process group; None for the group of all processes.
        sent: bytes that this process has sent in forward passes, by purpose. Backward passes send as many, except for
            states, of which they send a part.
    """

    rank: int
    size: int
    group: ProcessGroup | None = None
    sent: dict[str, int] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Context":
        return self  # a process group cannot be copied

    def start(self, x: Tensor) -> int:
        """Return the position of the first token of a stretch x [B, T, ...] in its sequence."""
        return self.rank * x.shape[1]

    def of_all_chunks(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply ``function`` to x [B, N, ...] of this stretch as a part of all chunks [B, size * N, ...].

        Other stretches are zeros. Functions that depend on the position of a chunk, or draw random numbers for each
        chunk, then give the values that they give for the whole sequence.
        """
        own, after = x.shape[1], self.size - 1 - self.rank
        whole = F.pad(x, (0, 0) * (x.ndim - 2) + (self.rank * own, after * own))
        return function(whole)[:, self.rank * own : (self.rank + 1) * own]

    def note(self, purpose: str, bytes_sent: int) -> None:
        """Count bytes that are sent."""
        self.sent[purpose] = self.sent.get(purpose, 0) + bytes_sent


def form(size: int) -> Context:
    """Form groups of ``size`` consecutive processes, and return the context of this process.

    All processes call this, once the process group of all is there. ``size`` divides their number.
    """
    started = launched()
    groups = [torch.distributed.new_group(list(range(first, first + size))) for first in range(0, started.world, size)]
    return Context(started.rank % size, size, groups[started.rank // size])
