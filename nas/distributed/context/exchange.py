"""Rows that processes of a context send each other, with gradients that return to their owners."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.distributed.context.group import Context


def exchange(context: Context, purpose: str, rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
    """Send rows to the processes of a context, and return the rows that they send to this process.

    Args:
        context: processes that share a sequence; all of them call this.
        purpose: what the rows are, for the count of bytes.
        rows: [n, ...], rows for each process in the order of ranks.
        sent: number of rows for each process.
        received: number of rows from each process.

    Returns:
        [m, ...], rows from each process in the order of ranks. It must be used in every process, even if it is empty:
        its gradient is sent back by a collective.
    """
    context.note(purpose, (sum(sent) - sent[context.rank]) * rows[:1].numel() * rows.element_size())
    exchanged: Tensor = _Exchange.apply(rows, context, list(sent), list(received))
    return exchanged


def before(context: Context, purpose: str, x: Tensor, size: int) -> Tensor:
    """Return the last ``size`` tokens before this stretch, fewer at the start of the sequence.

    Args:
        context: processes that share a sequence; all of them call this.
        purpose: what the tokens are for, for the count of bytes.
        x: [B, T, ...], the tokens of this stretch.
        size: number of tokens, which may be larger than T.

    Returns:
        [B, S, ...] with S = min(size, rank * T).
    """
    rank, length = context.rank, x.shape[1]
    steps = [_shared(size, length, to - rank) for to in range(context.size)]
    received = [_shared(size, length, rank - source) for source in range(context.size)]
    tokens = x.transpose(0, 1)
    rows = torch.cat([tokens[length - count :] for count in steps])
    return exchange(context, purpose, rows, steps, received).transpose(0, 1)


def _shared(size: int, length: int, distance: int) -> int:
    """Return how many of the last ``size`` tokens before a stretch lie ``distance`` stretches before it."""
    return min(max(size - (distance - 1) * length, 0), length) if distance > 0 else 0


class _Exchange(torch.autograd.Function):
    """An all-to-all of rows; the backward pass is the all-to-all in the other direction."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, context: Context, sent: list[int], received: list[int]) -> Tensor:
        ctx.context, ctx.sent, ctx.received = context, sent, received
        return _all_to_all(rows, context, sent, received)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _all_to_all(gradient, ctx.context, ctx.received, ctx.sent), None, None, None


def _all_to_all(rows: Tensor, context: Context, sent: list[int], received: list[int]) -> Tensor:
    made = rows.new_empty(sum(received), *rows.shape[1:])
    torch.distributed.all_to_all_single(made, rows.contiguous(), received, sent, group=context.group)
    return made
