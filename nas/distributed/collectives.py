"""Split a batch over processes, and combine figures into those of the whole batch.

Each process computes a part of every loss and figure such that the average over all processes equals the value of the
whole batch. DDP and FSDP average gradients, so this holds for gradients too. With one process every function here
returns its argument.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.batch import IGNORE, Batch
from nas.distributed.launch import launched
from nas.errors import UserError


def check_batch_size(batch_size: int, accumulate: int = 1, sharing: int = 1) -> None:
    """Raise a UserError if a batch cannot be split evenly over the processes, and then into micro-batches.

    Args:
        batch_size: sequences of a step.
        accumulate: number of micro-batches of each process.
        sharing: number of processes that share each sequence: the batch is split over groups of them.
    """
    groups = launched().world // sharing
    if batch_size % groups:
        above = -(-batch_size // groups) * groups
        fewer = sharing * max(count for count in range(1, groups) if batch_size % count == 0)
        over = f"{groups} processes" if sharing == 1 else f"{groups} groups of {sharing} processes"
        raise UserError(
            f"data.batch_size={batch_size} counts the sequences of a step over all processes and cannot be split "
            f"evenly over {over}; give {above}, or start {fewer}."
        )
    own = batch_size // groups
    if own % accumulate:
        fewer = max(count for count in range(1, accumulate) if own % count == 0)
        each = f", {own} for each of {groups} processes," if groups > 1 else ""
        raise UserError(
            f"trainer.accumulate={accumulate} splits the sequences of a step, but data.batch_size={batch_size}{each} "
            f"cannot be split evenly into {accumulate} micro-batches; give trainer.accumulate={fewer}, or "
            f"data.batch_size={-(-own // accumulate) * accumulate * groups}."
        )


class Place(NamedTuple):
    """Which of the equal parts of a batch: consecutive sequences, for one process or one micro-batch of it.

    Attributes:
        part: number of the part, from 0.
        parts: number of parts.
    """

    part: int
    parts: int

    def within(self, part: int, parts: int) -> "Place":
        """Return the place of a part of this part."""
        return Place(self.part * parts + part, self.parts * parts)


def own_place(sharing: int = 1) -> Place:
    """Return the place of this process's sequences in each batch: one for each group of ``sharing`` processes."""
    return Place(launched().rank // sharing, launched().world // sharing)


def own_rows(batch: Batch, sharing: int = 1) -> Batch:
    """Return this process's sequences of a batch; of each its stretch, if ``sharing`` processes share a sequence.

    Shared sequences have no packed documents.
    """
    own = rows_at(batch, own_place(sharing))
    if sharing == 1:
        return own
    assert own.documents is None
    length, index = own.tokens.shape[1] // sharing, launched().rank % sharing
    stretch = slice(index * length, (index + 1) * length)
    return Batch(*(None if x is None else x[:, stretch] for x in own))  # type: ignore[arg-type]


def rows_at(batch: Batch, place: Place) -> Batch:
    """Return the sequences of one part of a batch."""
    if place.parts == 1:
        return batch
    count = len(batch.tokens) // place.parts
    return batch.rows(slice(place.part * count, (place.part + 1) * count))


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


def parts_of_scored(counts: Sequence[int], device: torch.device) -> list[float | Tensor]:
    """Return the share of each micro-batch in the scored tokens of a step, over all processes.

    Args:
        counts: number of scored tokens of each micro-batch of this process.
        device: device of the training.
    """
    if launched().world == 1:
        return [count / max(1, sum(counts)) for count in counts]
    each = torch.tensor(counts, device=device)
    torch.distributed.all_reduce(each)
    return list((each / each.sum().clamp(min=1)).unbind())


def average(value: Tensor) -> Tensor:
    """Return the average over all processes; without a gradient."""
    world = launched().world
    if world == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / world


def gathered(values: Tensor, ragged: bool = False) -> Tensor:
    """Return the values [n, ...] of all processes, one after the other; without a gradient.

    Args:
        values: values of this process.
        ragged: whether processes may have different numbers of values; a GPU is waited for then.
    """
    world = launched().world
    if world == 1:
        return values
    values = values.detach().contiguous()
    if not ragged:
        parts = [torch.empty_like(values) for _ in range(world)]
        torch.distributed.all_gather(parts, values)
        return torch.cat(parts)
    counts = gathered(torch.tensor([len(values)], device=values.device)).tolist()
    padded = F.pad(values, (0, 0) * (values.ndim - 1) + (0, max(counts) - len(values)))
    of_all = gathered(padded).split(max(counts))
    return torch.cat([part[:count] for part, count in zip(of_all, counts, strict=True)])


def anywhere(here: bool, device: torch.device) -> bool:
    """Return whether something is the case in any process. Waits for the GPU if there are several."""
    if launched().world == 1:
        return here
    cases = torch.tensor([here], dtype=torch.int32, device=device)
    torch.distributed.all_reduce(cases)
    return bool(cases.item())


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


def over_all_rows(weigh: Callable[[Tensor], Tensor], logits: Tensor, place: Place | None = None) -> Tensor:
    """Apply ``weigh`` to rows [B, ...] with the random numbers that these rows have in the whole batch.

    Every process draws for the whole batch, from generators of the same seed, and returns its own rows. Packed
    documents are rows of which parts have different numbers: their random numbers differ from those of a whole batch.

    Args:
        weigh: function of rows that draws random numbers.
        logits: the rows.
        place: place of the rows in the batch; None for the rows of this process.
    """
    part, parts = place or own_place()
    if parts == 1:
        return weigh(logits)
    own, rest = len(logits), parts - 1 - part
    whole = F.pad(logits, (0, 0) * (logits.ndim - 1) + (part * own, rest * own))
    return weigh(whole)[part * own : (part + 1) * own]
