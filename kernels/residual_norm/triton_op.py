"""Addition and norm in Triton: the registered operator, its backward operator, and how the kernels are launched."""

from typing import Any

import torch
import triton
from torch import Tensor

from nas.kernels.residual_norm import triton_kernels
from nas.kernels.triton_elementwise import empty_output, rows, sum_partials, tokens_per_tile
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import multiprocessors, on_device, operand_dtype

TILE = 2048
"""Elements of a tile: 16 for each thread, four loads of 16 bytes in float32."""
WARPS = 4
PROGRAMS = 4
"""Most programs of the backward pass for each multiprocessor, which run at once."""


def residual_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Compute `nas.kernels.residual_norm` of valid arguments."""
    total, y = _forward(x, delta, weight, eps, operand_dtype(x, delta))
    return total, y


def _tiling(channels: int) -> dict[str, int]:
    padded = triton.next_power_of_2(channels)
    return {"DIM": channels, "BT": tokens_per_tile(padded, TILE), "BD": padded}


def _run_forward(x: Tensor, delta: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return total, and y in ``dtype``, each in the shape of x."""
    tokens, added, tiling = rows(x), rows(delta), _tiling(x.shape[-1])
    total, y = _outputs(x, delta, weight, eps, dtype)
    with on_device(x):
        triton_kernels.forward[(triton.cdiv(len(tokens), tiling["BT"]),)](
            tokens, added, weight, total, y,
            len(tokens), tokens.stride(0), added.stride(0), eps, **tiling, num_warps=WARPS,
        )  # fmt: skip
    return total, y


def _outputs(x: Tensor, delta: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Allocate contiguous, uninitialised memory for total and y."""
    total = x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, delta.dtype))
    return total, x.new_empty(x.shape, dtype=dtype)


def _run_backward(
    dtotal: Tensor | None,
    dy: Tensor,
    total: Tensor,
    weight: Tensor,
    eps: float,
    x_dtype: torch.dtype,
    delta_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute dx, ddelta (an empty tensor if it is dx) and dweight."""
    tokens, dys, tiling = rows(total), rows(dy), _tiling(total.shape[-1])
    dtotals = None if dtotal is None else rows(dtotal)
    dx, ddelta = _gradients(total, x_dtype, delta_dtype)
    programs = min(triton.cdiv(len(tokens), tiling["BT"]), PROGRAMS * multiprocessors(total.device))
    partials = total.new_empty(programs, tiling["DIM"], dtype=torch.float32)
    with on_device(total):
        triton_kernels.backward[(programs,)](
            dtotals, dys, tokens, weight, dx, ddelta, partials,
            len(tokens), 0 if dtotals is None else dtotals.stride(0), dys.stride(0), eps, **tiling,
            HAS_DTOTAL=dtotals is not None, HAS_DDELTA=ddelta.numel() > 0, num_warps=WARPS,
        )  # fmt: skip
    return dx, ddelta, sum_partials(partials, weight)


def _fake_backward(
    dtotal: Tensor | None,
    dy: Tensor,
    total: Tensor,
    weight: Tensor,
    eps: float,
    x_dtype: torch.dtype,
    delta_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    return *_gradients(total, x_dtype, delta_dtype), weight.new_empty(weight.shape)


def _gradients(total: Tensor, x_dtype: torch.dtype, delta_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Allocate uninitialised memory for dx, and for ddelta if its dtype is another one."""
    same = x_dtype == delta_dtype
    ddelta = empty_output(total) if same else total.new_empty(total.shape, dtype=delta_dtype)
    return total.new_empty(total.shape, dtype=x_dtype), ddelta


Inputs = tuple[Tensor, Tensor, Tensor, float, torch.dtype]


def _save(ctx: Any, inputs: Inputs, output: tuple[Tensor, Tensor]) -> None:
    x, delta, weight, ctx.eps, ctx.y_dtype = inputs
    ctx.dtypes = x.dtype, delta.dtype
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[0], weight)


def _differentiate(ctx: Any, dtotal: Tensor | None, dy: Tensor | None) -> tuple[Tensor | None, ...]:
    total, weight = ctx.saved_tensors
    if dy is None:
        dy = torch.zeros_like(total, dtype=ctx.y_dtype)
    dx, ddelta, dweight = _backward(dtotal, dy, total, weight, ctx.eps, *ctx.dtypes)
    return dx, ddelta if ddelta.numel() else dx, dweight, None, None


_backward = Operator("residual_norm_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("residual_norm", _run_forward, _outputs, _save, _differentiate)
