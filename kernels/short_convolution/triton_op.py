"""The short convolution in Triton: the registered operator, its backward operator, and how the kernels are launched."""

from typing import Any

import torch
import triton
from torch import Tensor

from nas.kernels.joint_gradient import gradient_memory
from nas.kernels.short_convolution import triton_kernels
from nas.kernels.triton_elementwise import sum_partials
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import dense, multiprocessors, on_device, operand_dtype

CHANNELS, ROWS, WARPS = 64, 8, 4
"""Channels of a tile: 128 bytes of a row in half precision, a whole cache line. With 4 elements for each thread, a
window of 8 inputs and 8 gradients fits in registers.
"""
UNROLL = 4
"""Tokens that a row of a tile loads at once."""
LONGEST_WALK = 64
"""Most consecutive tokens that a row processes; each row reads its neighbours' tokens too, twice W - 1 of them."""
FORWARD_PROGRAMS, BACKWARD_PROGRAMS = 10, 4
"""Programs that a multiprocessor runs at once: they have 48 and 128 registers a thread."""


def short_convolution(x: Tensor, weight: Tensor, borders: list[int] | None = None) -> Tensor:
    """Compute `nas.kernels.short_convolution` of valid arguments; ``borders`` are those of packed documents."""
    documents = None
    if borders is not None and len(borders) > 2:  # one document is a sequence
        documents = _document_of_tokens(borders, x.device)
    return _forward(x.to(operand_dtype(x)), weight, documents)


def _document_of_tokens(borders: list[int], device: torch.device) -> Tensor:
    """Return int32 [T, 2], the begin and end of each token's document, without waiting for the device."""
    values = torch.tensor(borders, dtype=torch.int32).to(device, non_blocking=True)
    documents = torch.stack([values[:-1], values[1:]], dim=1)
    return documents.repeat_interleave(values.diff(), dim=0, output_size=borders[-1])


def _run_forward(x: Tensor, weight: Tensor, documents: Tensor | None = None) -> Tensor:
    x = dense(x)
    _, length, channels = x.shape
    y = x.new_empty(x.shape)
    blocks, walk = _blocks(x, FORWARD_PROGRAMS)
    with on_device(x):
        triton_kernels.forward[(blocks * triton.cdiv(channels, CHANNELS),)](
            x, weight.contiguous(), documents, y, length, channels, walk, *x.stride()[:2],
            W=weight.shape[1], UNROLL=UNROLL, ROWS=ROWS, BD=CHANNELS, PACKED=documents is not None,
            num_warps=WARPS,
        )  # fmt: skip
    return y


def _fake_forward(x: Tensor, weight: Tensor, documents: Tensor | None = None) -> Tensor:
    return x.new_empty(x.shape)


def _run_backward(dy: Tensor, x: Tensor, weight: Tensor, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
    dy, x = dense(dy), dense(x)
    _, length, channels = x.shape
    (blocks, walk), size = _blocks(x, BACKWARD_PROGRAMS), weight.shape[1]
    dx = gradient_memory(x)
    partials = x.new_empty(blocks, channels, size, dtype=torch.float32)
    with on_device(x):
        triton_kernels.backward[(blocks * triton.cdiv(channels, CHANNELS),)](
            dy, x, weight.contiguous(), documents, dx, partials, length, channels, walk, *dy.stride()[:2],
            *x.stride()[:2], *dx.stride()[:2], W=size, UNROLL=UNROLL, ROWS=ROWS, BD=CHANNELS,
            PACKED=documents is not None, num_warps=WARPS,
        )  # fmt: skip
    return dx, sum_partials(partials, weight)


def _fake_backward(dy: Tensor, x: Tensor, weight: Tensor, documents: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _blocks(x: Tensor, programs: int) -> tuple[int, int]:
    """Return the number of blocks of tokens of all batch entries, and the number of tokens that a row processes.

    All programs have equal work. They run in as few rounds as the longest walk allows, and the last round is full too.
    ``programs`` is the number that a multiprocessor runs at once.
    """
    batch, length, channels = x.shape
    at_once = programs * multiprocessors(x.device)
    steps = triton.cdiv(batch * length * triton.cdiv(channels, CHANNELS), ROWS * UNROLL)
    rounds = triton.cdiv(steps * UNROLL, at_once * LONGEST_WALK)
    walk = UNROLL * min(triton.cdiv(steps, at_once * rounds), triton.cdiv(length, ROWS * UNROLL))
    return batch * triton.cdiv(length, ROWS * walk), walk


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
    return *_backward(dy, *ctx.saved_tensors), None


_backward = Operator("short_convolution_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("short_convolution", _run_forward, _fake_forward, _save, _differentiate)
