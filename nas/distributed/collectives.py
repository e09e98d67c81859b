"""One batch over several processes: each has its rows, and every figure is that of the whole batch.

What a process computes on its rows is such that the average over all processes is what one process would have computed
on the whole batch, gradients included: they are what DDP and FSDP average. On one's own every function here changes
nothing.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.batch import IGNORE, Batch
from nas.distributed.launch import launched
from nas.errors import UserError


def check_batch_size(batch_size: int) -> None:
    """UserError where the processes cannot have the same number of sequences of a batch."""
    world = launched().world
    if batch_size % world:
        above = -(-batch_size // world) * world
        fewer = max(processes for processes in range(1, world) if batch_size % processes == 0)
        raise UserError(
            f"data.batch_size={batch_size} is the number of sequences in a step over all processes and cannot be split "
            f"evenly over {world} of them; give {above}, or start {fewer}."
        )


def own_rows(batch: Batch) -> Batch:
    """This process's sequences of a batch."""
    started = launched()
    if started.world == 1:
        return batch
    count = len(batch.tokens) // started.world
    rows = slice(started.rank * count, (started.rank + 1) * count)
    return Batch(*(None if x is None else x[rows] for x in batch))  # type: ignore[arg-type]


def own_share(batches: Sequence[Batch]) -> list[Batch]:
    """This process's sequences of each batch; all of them where one cannot be split evenly."""
    if any(len(batch.tokens) % launched().world for batch in batches):
        return list(batches)
    return [own_rows(batch) for batch in batches]


def part_of_mean(values: Tensor) -> Tensor:
    """This process's part of the mean over the values of all processes, however many each has: parts average to it."""
    world = launched().world
    if world == 1:
        return values.mean()
    count = torch.full((), values.numel(), dtype=torch.int64, device=values.device)
    torch.distributed.all_reduce(count)
    return values.sum() * (world / count)


def average(value: Tensor) -> Tensor:
    """The average over all processes, the same number in each; without a gradient."""
    world = launched().world
    if world == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / world


def averages(figures: dict[str, Tensor]) -> dict[str, Tensor]:
    """The average of each figure over all processes, exchanged together."""
    if launched().world == 1:
        return figures
    together = average(torch.stack([figure.detach().float() for figure in figures.values()]))
    return dict(zip(figures, together.unbind(), strict=True))


def average_over(batches: Sequence[Batch], value: float, device: torch.device) -> float:
    """The average over all processes of what each measured on its batches, weighed by the tokens scored in them."""
    if launched().world == 1:
        return value
    scored = sum(int((batch.targets != IGNORE).sum()) for batch in batches)
    sums = torch.tensor([value * scored, scored], dtype=torch.float32, device=device)
    torch.distributed.all_reduce(sums)
    return (sums[0] / sums[1]).item()


def over_all_rows(weigh: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """``weigh`` with the random numbers that these rows [B, ...] have in the whole batch.

    Every process draws for the whole batch, from generators of one seed, and keeps what is its own.
    """
    started = launched()
    if started.world == 1:
        return weigh(logits)
    own, rest = len(logits), started.world - 1 - started.rank
    whole = F.pad(logits, (0, 0) * (logits.ndim - 1) + (started.rank * own, rest * own))
    return weigh(whole)[started.rank * own : (started.rank + 1) * own]
