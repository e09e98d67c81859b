"""The short convolution in Triton: the registered operator, its backward operator, and how the kernels are launched."""

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
from torch import Tensor

from nas.kernels.joint_gradient import gradient_memory
from nas.kernels.short_convolution import triton_kernels
from nas.kernels.triton_elementwise import sum_partials
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import dense, multiprocessors, on_device, operand_dtype

CHANNELS, TILE, WARPS = 64, 512, 4
"""Channels of a tile without heads: 128 bytes of a row in half precision, a whole cache line. With 4 elements for each
thread, a window of 8 inputs and 8 gradients fits in registers.
"""
UNROLL = 4
"""Tokens that a row of a tile loads at once."""
LONGEST_WALK = 64
"""Most consecutive tokens that a row processes; each row reads its neighbours' tokens too, twice W - 1 of them.

With packed documents, a row has 128 bits, for these, BEFORE in front of them and W - 1 behind.
"""
FORWARD_PROGRAMS, PACKED_FORWARD_PROGRAMS, BACKWARD_PROGRAMS = 10, 9, 4
"""Programs that a multiprocessor runs at once: they have 48, 56 and 128 registers a thread."""
BACKWARD_REGISTERS = 128
"""Most registers a thread of the backward pass, which would take more for the norm of heads or packed documents."""


def short_convolution(x: Tensor, weight: Tensor, borders: list[int] | None = None, heads: int | None = None) -> Tensor:
    """Compute `nas.kernels.short_convolution` of valid arguments; ``borders`` are those of packed documents."""
    begins = None
    if borders is not None and len(borders) > 2:  # one document is a sequence
        begins = _begins_of_documents(borders).to(x.device, non_blocking=True)
    return _forward(x.to(operand_dtype(x)), weight, begins, heads or 0)


def _begins_of_documents(borders: list[int]) -> Tensor:
    """Return int64 [T // 64 + 4], whose bit BEFORE + t says whether token t begins a document."""
    bits = np.asarray(borders[:-1]) + triton_kernels.BEFORE.value
    words = np.zeros(borders[-1] // 64 + 4, np.uint64)
    np.bitwise_or.at(words, bits // 64, np.uint64(1) << (bits % 64).astype(np.uint64))
    return torch.from_numpy(words.view(np.int64))


def _run_forward(x: Tensor, weight: Tensor, begins: Tensor | None = None, heads: int = 0) -> Tensor:
    """Compute y; ``heads`` are those of its l2 norm, 0 for none."""
    x = dense(x)
    _, length, channels = x.shape
    y, tile = x.new_empty(x.shape), _tile(channels, heads)
    blocks, walk = _blocks(x, tile, FORWARD_PROGRAMS if begins is None else PACKED_FORWARD_PROGRAMS)
    with on_device(x):
        triton_kernels.forward[(blocks * triton.cdiv(channels, tile.DIM),)](
            x, weight.contiguous(), begins, y, length, channels, walk, *x.stride()[:2],
            W=weight.shape[1], UNROLL=UNROLL, **tile._asdict(), PACKED=begins is not None, NORM=heads > 0,
            num_warps=WARPS,
        )  # fmt: skip
    return y


def _fake_forward(x: Tensor, weight: Tensor, begins: Tensor | None = None, heads: int = 0) -> Tensor:
    return x.new_empty(x.shape)


def _run_backward(
    dy: Tensor, x: Tensor, weight: Tensor, begins: Tensor | None = None, heads: int = 0
) -> tuple[Tensor, Tensor]:
    dy, x = dense(dy), dense(x)
    _, length, channels = x.shape
    tile, size = _tile(channels, heads), weight.shape[1]
    blocks, walk = _blocks(x, tile, BACKWARD_PROGRAMS)
    dx = gradient_memory(x)
    partials = x.new_empty(blocks, channels, size, dtype=torch.float32)
    with on_device(x):
        triton_kernels.backward[(blocks * triton.cdiv(channels, tile.DIM),)](
            dy, x, weight.contiguous(), begins, dx, partials, length, channels, walk, *dy.stride()[:2],
            *x.stride()[:2], *dx.stride()[:2], W=size, UNROLL=UNROLL, **tile._asdict(),
            PACKED=begins is not None, NORM=heads > 0, num_warps=WARPS, maxnreg=BACKWARD_REGISTERS,
        )  # fmt: skip
    return dx, sum_partials(partials, weight)


def _fake_backward(
    dy: Tensor, x: Tensor, weight: Tensor, begins: Tensor | None = None, heads: int = 0
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


class _Tile(NamedTuple):
    """A tile of ROWS rows of DIM channels, padded to BD: a head for the l2 norm, any channels without it."""

    ROWS: int
    DIM: int
    BD: int


def _tile(channels: int, heads: int) -> _Tile:
    dim = channels // heads if heads else CHANNELS
    padded = triton.next_power_of_2(dim)
    return _Tile(max(1, TILE // padded), dim, padded)


def _blocks(x: Tensor, tile: _Tile, programs: int) -> tuple[int, int]:
    """Return the number of blocks of tokens of all batch entries, and the number of tokens that a row processes.

    All programs have equal work. They run in as few rounds as the longest walk allows, and the last round is full too.
    ``programs`` is the number that a multiprocessor runs at once.
    """
    batch, length, channels = x.shape
    at_once = programs * multiprocessors(x.device)
    steps = triton.cdiv(batch * length * triton.cdiv(channels, tile.DIM), tile.ROWS * UNROLL)
    rounds = triton.cdiv(steps * UNROLL, at_once * LONGEST_WALK)
    walk = UNROLL * min(triton.cdiv(steps, at_once * rounds), triton.cdiv(length, tile.ROWS * UNROLL))
    return batch * triton.cdiv(length, tile.ROWS * walk), walk


Inputs = tuple[Tensor, Tensor, Tensor | None, int]


def _save(ctx: Any, inputs: Inputs, output: Tensor) -> None:
    *tensors, ctx.heads = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None, None]:
    return *_backward(dy, *ctx.saved_tensors, ctx.heads), None, None


_backward = Operator("short_convolution_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("short_convolution", _run_forward, _fake_forward, _save, _differentiate)
