"""Split a batch over processes, and combine figures into those of the whole batch.

Each process computes a part of every loss and figure such that the average over all processes equals the value of the
whole batch. DDP and FSDP average gradients, so this holds for gradients too. With one process every function here
returns its argument.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.batch import IGNORE, Batch
from nas.distributed.launch import launched
from nas.errors import UserError


def check_batch_size(batch_size: int) -> None:
    """Raise a UserError if a batch cannot be split evenly over the processes."""
    world = launched().world
    if batch_size % world:
        above = -(-batch_size // world) * world
        fewer = max(processes for processes in range(1, world) if batch_size % processes == 0)
        raise UserError(
            f"data.batch_size={batch_size} counts the sequences of a step over all processes and cannot be split "
            f"evenly over {world} processes; give {above}, or start {fewer}."
        )


def own_rows(batch: Batch) -> Batch:
    """Return this process's sequences of a batch."""
    started = launched()
    if started.world == 1:
        return batch
    count = len(batch.tokens) // started.world
    rows = slice(started.rank * count, (started.rank + 1) * count)
    return batch.rows(rows)


def own_share(batches: Sequence[Batch]) -> list[Batch]:
    """Return this process's sequences of each batch; all sequences if a batch cannot be split evenly."""
    if any(len(batch.tokens) % launched().world for batch in batches):
        return list(batches)
    return [own_rows(batch) for batch in batches]


def part_of_mean(values: Tensor) -> Tensor:
    """Return this process's part of the mean over the values of all processes.

    The average of the parts is this mean, even if processes have different numbers of values. It is 0 without values.
    """
    world = launched().world
    if world == 1:
        return values.mean() if values.numel() else values.sum()
    count = torch.full((), values.numel(), dtype=torch.int64, device=values.device)
    torch.distributed.all_reduce(count)
    return values.sum() * (world / count.clamp(min=1))


def average(value: Tensor) -> Tensor:
    """Return the average over all processes; without a gradient."""
    world = launched().world
    if world == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / world


def averages(figures: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the average of each figure over all processes, by a single all-reduce."""
    if launched().world == 1:
        return figures
    together = average(torch.stack([figure.detach().float() for figure in figures.values()]))
    return dict(zip(figures, together.unbind(), strict=True))


def average_over(
    batches: Sequence[Batch], value: float, device: torch.device, byte_lengths: Tensor | None = None
) -> float:
    """Return the average over all processes of a figure, weighted by the number of scored tokens of each.

    Args:
        batches: batches of this process.
        value: figure of this process.
        device: device of the collective.
        byte_lengths: bytes of each token of the vocabulary, for a figure per byte: the weights are bytes then.
    """
    if launched().world == 1:
        return value
    targets = torch.cat([batch.targets[batch.targets != IGNORE] for batch in batches])
    scored = len(targets) if byte_lengths is None else int(byte_lengths[targets].sum())
    sums = torch.tensor([value * scored if scored else 0.0, scored], dtype=torch.float32, device=device)
    torch.distributed.all_reduce(sums)
    return (sums[0] / sums[1]).item()


def over_all_rows(weigh: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Apply ``weigh`` to rows [B, ...] with the random numbers that these rows have in the whole batch.

    Every process draws for the whole batch, from generators of the same seed, and returns its own rows. Packed
    documents are rows of which processes have different numbers: their random numbers differ from those of one process.
    """
    started = launched()
    if started.world == 1:
        return weigh(logits)
    own, rest = len(logits), started.world - 1 - started.rank
    whole = F.pad(logits, (0, 0) * (logits.ndim - 1) + (started.rank * own, rest * own))
    return weigh(whole)[started.rank * own : (started.rank + 1) * own]
