"""Both norms of heads in Triton: the registered operator, its backward operator, and how the kernels are launched."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from nas.kernels.head_norms import triton_kernels
from nas.kernels.triton_elementwise import empty_output, rows, sum_partials, tokens_per_tile
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import multiprocessors, on_device, operand_dtype

TILE = 2048
"""Elements of a tile: 16 for each thread, two loads of 16 bytes in half precision."""
WARPS = 4
PROGRAMS, WEIGHTED_PROGRAMS = 9, 4
"""Programs of the backward pass for each multiprocessor, which run at once: without a weight they have 56 registers a
thread, with one up to 125."""


def head_norms(
    x: Tensor, weight: Tensor | None, linear_heads: int | None, softmax_heads: int | None, eps: float
) -> tuple[Tensor | None, Tensor | None]:
    """Compute `nas.kernels.head_norms` of valid arguments."""
    l2, rms = _forward(x, weight, linear_heads or 0, softmax_heads or 0, eps, operand_dtype(x))
    return (
        l2.unflatten(-1, (linear_heads, -1)) if linear_heads else None,
        rms.unflatten(-1, (softmax_heads, -1)) if softmax_heads else None,
    )


class _Tiling(NamedTuple):
    """Division of a call into groups of M heads with DIM channels (see the kernels), and of groups into tiles."""

    GROUPS: int
    M: int
    DIM: int
    BT: int
    BM: int
    BD: int
    HAS_L2: bool
    HAS_RMS: bool


def tiling_of(channels: int, linear_heads: int, softmax_heads: int) -> _Tiling:
    """Return the tiling of a call; 0 heads mean that a branch is not computed."""
    groups = linear_heads or softmax_heads
    heads = (softmax_heads or linear_heads) // groups
    dim = channels // groups // heads
    padded_heads, padded_dim = triton.next_power_of_2(heads), triton.next_power_of_2(dim)
    tokens = tokens_per_tile(padded_heads * padded_dim, TILE)
    return _Tiling(groups, heads, dim, tokens, padded_heads, padded_dim, linear_heads > 0, softmax_heads > 0)


def _run_forward(
    x: Tensor, weight: Tensor | None, linear_heads: int, softmax_heads: int, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return l2 and rms, each in the shape of x and in ``dtype``; an empty tensor where the number of heads is 0."""
    tiling, tokens = tiling_of(x.shape[-1], linear_heads, softmax_heads), rows(x)
    l2, rms = _outputs(x, linear_heads, softmax_heads, dtype)
    grid = (tiling.GROUPS * triton.cdiv(len(tokens), tiling.BT),)
    with on_device(x):
        triton_kernels.forward[grid](
            tokens, weight, l2, rms, len(tokens), tokens.stride(0), eps, **tiling._asdict(), num_warps=WARPS
        )
    return l2, rms


def _fake_forward(
    x: Tensor, weight: Tensor | None, linear_heads: int, softmax_heads: int, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    return _outputs(x, linear_heads, softmax_heads, dtype)


def _outputs(x: Tensor, linear_heads: int, softmax_heads: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    l2 = x.new_empty(x.shape, dtype=dtype) if linear_heads else empty_output(x)
    rms = x.new_empty(x.shape, dtype=dtype) if softmax_heads else empty_output(x)
    return l2, rms


def _run_backward(
    dl2: Tensor, drms: Tensor, x: Tensor, weight: Tensor | None, linear_heads: int, softmax_heads: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Compute dx and dweight (an empty tensor without a weight)."""
    tiling, tokens = tiling_of(x.shape[-1], linear_heads, softmax_heads), rows(x)
    dl2, drms = (rows(y) if y.numel() else tokens for y in (dl2, drms))
    dx = x.new_empty(x.shape)
    at_once = (WEIGHTED_PROGRAMS if tiling.HAS_RMS else PROGRAMS) * multiprocessors(x.device)
    programs = tiling.GROUPS * min(triton.cdiv(len(tokens), tiling.BT), max(1, at_once // tiling.GROUPS))
    partials = x.new_empty(programs, tiling.DIM if tiling.HAS_RMS else 0, dtype=torch.float32)
    with on_device(x):
        triton_kernels.backward[(programs,)](
            dl2, drms, tokens, weight, dx, partials,
            len(tokens), dl2.stride(0), drms.stride(0), tokens.stride(0), eps,
            **tiling._asdict(), num_warps=WARPS,
        )  # fmt: skip
    return dx, empty_output(x) if weight is None else sum_partials(partials, weight)


def _fake_backward(
    dl2: Tensor, drms: Tensor, x: Tensor, weight: Tensor | None, linear_heads: int, softmax_heads: int, eps: float
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), empty_output(x) if weight is None else weight.new_empty(weight.shape)


Inputs = tuple[Tensor, Tensor | None, int, int, float, torch.dtype]


def _save(ctx: Any, inputs: Inputs, output: tuple[Tensor, Tensor]) -> None:
    x, weight, *ctx.options, _ = inputs
    ctx.save_for_backward(x, weight)


def _differentiate(ctx: Any, dl2: Tensor, drms: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    dx, dweight = _backward(dl2, drms, x, weight, *ctx.options)
    return dx, None if weight is None else dweight, None, None, None, None


_backward = Operator("head_norms_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("head_norms", _run_forward, _fake_forward, _save, _differentiate)
