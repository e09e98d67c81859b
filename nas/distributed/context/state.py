"""The state of the delta rule at the start of each stretch, composed from what each stretch does to a state.

A stretch maps the state S at its start to A S + b at its end. All processes compute their A [K, K] and b [K, V] at the
same time. One all-gather then brings the maps of all stretches, and K x K products compose those of earlier ones. Each
head sends K (K + V) numbers in the forward pass and K V in the backward pass, whatever the length of a stretch.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.distributed.context.group import Context
from nas.kernels.arguments import without_autocast


def pass_state(context: Context, transition: Tensor, end: Tensor) -> Tensor:
    """Return the state [B, H, K, V] at the start of this stretch, of zeros before the first.

    Args:
        context: processes that share a sequence; all of them call this.
        transition: [B, H, K, K], the map A from the state at the start of this stretch to the state at its end.
        end: [B, H, K, V], the state b at its end for a start from zeros.
    """
    state: Tensor = _PassState.apply(transition, end, context)
    return state


class _PassState(torch.autograd.Function):
    """S_{r+1} = A_r S_r + b_r from S_0 = 0. The gradient D_r of the end of stretch r is a sum over later stretches:
    D_r = dS_{r+1} + A_{r+1}^T D_{r+1}, and then db_r = D_r, dA_r = D_r S_r^T.
    """

    @staticmethod
    @without_autocast
    def forward(ctx: Any, transition: Tensor, end: Tensor, context: Context) -> Tensor:
        maps = _gathered(context, torch.cat([transition, end], dim=-1))
        context.note("state", (context.size - 1) * (transition.numel() + end.numel()) * end.element_size())
        transitions = [one[..., : end.shape[-2]] for one in maps]
        start = torch.zeros_like(end)
        for one in maps[: context.rank]:
            start = one[..., end.shape[-2] :] + one[..., : end.shape[-2]] @ start
        ctx.context = context
        ctx.save_for_backward(start, *transitions[context.rank + 1 :])
        return start

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        start, *later = ctx.saved_tensors
        gradients = _gathered(ctx.context, gradient)[ctx.context.rank + 1 :]
        of_end = torch.zeros_like(gradient)
        for transition, of_start in zip(reversed(later), reversed(gradients), strict=True):
            of_end = of_start + transition.mT @ of_end
        return of_end @ start.mT, of_end, None


def _gathered(context: Context, x: Tensor) -> list[Tensor]:
    """Return x of each process, in the order of ranks."""
    made = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(context.size)]
    torch.distributed.all_gather(made, x.contiguous(), group=context.group)
    return made
