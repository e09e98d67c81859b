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


def check_batch_size(batch_size: int, sharing: int = 1) -> None:
    """Raise a UserError if a batch cannot be split evenly over the groups of ``sharing`` processes."""
    groups = launched().world // sharing
    if batch_size % groups:
        above = -(-batch_size // groups) * groups
        fewer = sharing * max(count for count in range(1, groups) if batch_size % count == 0)
        over = f"{groups} processes" if sharing == 1 else f"{groups} groups of {sharing} processes"
        raise UserError(
            f"data.batch_size={batch_size} counts the sequences of a step over all processes and cannot be split "
            f"evenly over {over}; give {above}, or start {fewer}."
        )


def own_rows(batch: Batch, sharing: int = 1) -> Batch:
    """Return this process's sequences of a batch; of each its stretch, if ``sharing`` processes share a sequence."""
    started = launched()
    if started.world == 1:
        return batch
    own = _own_part(len(batch.tokens), started.rank // sharing, started.world // sharing)
    stretch = _own_part(batch.tokens.shape[1], started.rank % sharing, sharing)
    return Batch(*(None if x is None else x[own, stretch] for x in batch))  # type: ignore[arg-type]


def _own_part(length: int, index: int, parts: int) -> slice:
    """Return a part of a dimension that is split evenly."""
    return slice(index * (length // parts), (index + 1) * (length // parts))


def own_share(batches: Sequence[Batch]) -> list[Batch]:
    """Return this process's sequences of each batch; all sequences if a batch cannot be split evenly."""
    if any(len(batch.tokens) % launched().world for batch in batches):
        return list(batches)
    return [own_rows(batch) for batch in batches]


def part_of_mean(values: Tensor) -> Tensor:
    """Return this process's part of the mean over the values of all processes.

    The average of the parts is this mean, even if processes have different numbers of values.
    """
    world = launched().world
    if world == 1:
        return values.mean()
    count = torch.full((), values.numel(), dtype=torch.int64, device=values.device)
    torch.distributed.all_reduce(count)
    return values.sum() * (world / count)


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


def average_over(batches: Sequence[Batch], value: float, device: torch.device) -> float:
    """Return the average over all processes of a figure, weighted by the number of scored tokens of each."""
    if launched().world == 1:
        return value
    scored = sum(int((batch.targets != IGNORE).sum()) for batch in batches)
    sums = torch.tensor([value * scored, scored], dtype=torch.float32, device=device)
    torch.distributed.all_reduce(sums)
    return (sums[0] / sums[1]).item()


def over_all_rows(weigh: Callable[[Tensor], Tensor], logits: Tensor, sharing: int = 1) -> Tensor:
    """Apply ``weigh`` to rows [B, ...] with the random numbers that these rows have in the whole batch.

    Every process draws for the whole batch, from generators of the same seed, and returns its own rows. Groups of
    ``sharing`` processes have the same rows.
    """
    started = launched()
    if started.world == sharing:
        return weigh(logits)
    own, index, groups = len(logits), started.rank // sharing, started.world // sharing
    whole = F.pad(logits, (0, 0) * (logits.ndim - 1) + (index * own, (groups - 1 - index) * own))
    return weigh(whole)[index * own : (index + 1) * own]
