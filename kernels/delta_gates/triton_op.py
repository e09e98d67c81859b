"""Decay and write strength in Triton: the registered operator, its backward operator, and how the kernels are launched.

Without the kernels a layer has 7 launches forward and 11 backward for tensors of a few columns.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from nas.kernels.delta_gates import triton_kernels
from nas.kernels.joint_gradient import gradient_memory
from nas.kernels.triton_elementwise import rows, tokens_per_tile
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import on_device

TILE = 1024
"""Elements of a tile: 8 for each thread."""
WARPS = 4


def delta_gates(
    decay: Tensor, write: Tensor, log_rate: Tensor, decay_bias: Tensor, write_bias: Tensor | None, strongest: float
) -> tuple[Tensor, Tensor]:
    """Compute `nas.kernels.delta_gates` of valid arguments."""
    g, beta = _forward(decay, write, log_rate, decay_bias, write_bias, strongest)
    return g, beta


def _tiling(heads: int) -> dict[str, int]:
    padded = triton.next_power_of_2(heads)
    return {"H": heads, "BT": tokens_per_tile(padded, TILE), "BH": padded}


def _run_forward(
    decay: Tensor, write: Tensor, log_rate: Tensor, decay_bias: Tensor, write_bias: Tensor | None, strongest: float
) -> tuple[Tensor, Tensor]:
    decays, writes, tiling = rows(decay), rows(write), _tiling(decay.shape[-1])
    g, beta = _outputs(decay, write, log_rate, decay_bias, write_bias, strongest)
    with on_device(decay):
        triton_kernels.forward[(triton.cdiv(len(decays), tiling["BT"]),)](
            decays, writes, log_rate, decay_bias, write_bias, g, beta,
            len(decays), decays.stride(0), writes.stride(0), strongest,
            **tiling, HAS_BIAS=write_bias is not None, num_warps=WARPS,
        )  # fmt: skip
    return g, beta


def _outputs(
    decay: Tensor, write: Tensor, log_rate: Tensor, decay_bias: Tensor, write_bias: Tensor | None, strongest: float
) -> tuple[Tensor, Tensor]:
    """Allocate contiguous, uninitialised memory for g and beta."""
    return decay.new_empty(decay.shape, dtype=torch.float32), decay.new_empty(decay.shape, dtype=torch.float32)


def _run_backward(
    dg: Tensor,
    dbeta: Tensor,
    decay: Tensor,
    write: Tensor,
    log_rate: Tensor,
    decay_bias: Tensor,
    write_bias: Tensor | None,
    strongest: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ddecay, dwrite, and the gradients [3, H] of log_rate, decay_bias and write_bias in float32."""
    tokens = tuple(rows(x) for x in (dg, dbeta, decay, write))
    ddecay, dwrite, tiling = gradient_memory(decay), gradient_memory(write), _tiling(decay.shape[-1])
    programs = triton.cdiv(len(tokens[0]), tiling["BT"])
    partials = decay.new_empty(programs, 3, tiling["H"], dtype=torch.float32)
    strides = [x.stride(0) for x in tokens]
    with on_device(decay):
        triton_kernels.backward[(programs,)](
            *tokens, log_rate, decay_bias, write_bias, ddecay, dwrite, partials,
            len(tokens[0]), *strides, ddecay.stride(-2), dwrite.stride(-2), strongest,
            **tiling, HAS_BIAS=write_bias is not None, num_warps=WARPS,
        )  # fmt: skip
    return ddecay, dwrite, partials.sum(0)


def _fake_backward(
    dg: Tensor,
    dbeta: Tensor,
    decay: Tensor,
    write: Tensor,
    log_rate: Tensor,
    decay_bias: Tensor,
    write_bias: Tensor | None,
    strongest: float,
) -> tuple[Tensor, Tensor, Tensor]:
    vectors = decay.new_empty(3, decay.shape[-1], dtype=torch.float32)
    return decay.new_empty(decay.shape), write.new_empty(write.shape), vectors


Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, float]


def _save(ctx: Any, inputs: Inputs, output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.strongest = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dg: Tensor, dbeta: Tensor) -> tuple[Tensor | None, ...]:
    _, _, *vectors = given = ctx.saved_tensors
    ddecay, dwrite, gradients = _backward(dg, dbeta, *given, ctx.strongest)
    each = zip(gradients, vectors, strict=True)
    return ddecay, dwrite, *(None if x is None else gradient.to(x.dtype) for gradient, x in each), None


_backward = Operator("delta_gates_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("delta_gates", _run_forward, _outputs, _save, _differentiate)
