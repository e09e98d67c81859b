"""The gated activation in Triton: the registered operator, its backward operator, and how the kernels are launched."""

from typing import Any

import triton
from torch import Tensor

from nas.kernels.swiglu import triton_kernels
from nas.kernels.triton_elementwise import rows, tokens_per_tile
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import on_device, operand_dtype

CHANNELS = 256
"""Most channels of a tile: a warp reads one token's channels with one load of 16 bytes a thread in half precision. If
the hidden size is no multiple of it, little of the last tile lies beyond that size.
"""
TILE = 2048
"""Elements of a tile: 16 for each thread, two such loads from each half of x."""
WARPS = 4


def swiglu(x: Tensor) -> Tensor:
    """Compute `nas.kernels.swiglu` of valid arguments."""
    return _forward(x.to(operand_dtype(x)))


def _tiling(tokens: Tensor) -> tuple[tuple[int], dict[str, int]]:
    """Return the grid for x [N, 2 * hidden], and a tile's tokens and channels."""
    hidden = tokens.shape[1] // 2
    channels = min(CHANNELS, triton.next_power_of_2(hidden))
    length = tokens_per_tile(channels, TILE)
    return (triton.cdiv(len(tokens), length) * triton.cdiv(hidden, channels),), {"BT": length, "BD": channels}


def _run_forward(x: Tensor) -> Tensor:
    tokens, y = rows(x), _output(x)
    grid, tile = _tiling(tokens)
    with on_device(x):
        triton_kernels.forward[grid](tokens, y, len(tokens), y.shape[-1], tokens.stride(0), **tile, num_warps=WARPS)
    return y


def _output(x: Tensor) -> Tensor:
    """Allocate contiguous, uninitialised memory for y."""
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2)


def _run_backward(dy: Tensor, x: Tensor) -> Tensor:
    dys, tokens, dx = rows(dy), rows(x), x.new_empty(x.shape)
    grid, tile = _tiling(tokens)
    with on_device(x):
        triton_kernels.backward[grid](
            dys, tokens, dx, len(tokens), dys.shape[1], dys.stride(0), tokens.stride(0), **tile, num_warps=WARPS
        )
    return dx


def _fake_backward(dy: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> Tensor:
    gradient: Tensor = _backward(dy, *ctx.saved_tensors)
    return gradient


_backward = Operator("swiglu_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("swiglu", _run_forward, _output, _save, _differentiate)
