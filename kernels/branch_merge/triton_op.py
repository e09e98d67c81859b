"""Merge of the branches in Triton: the registered operator, its backward operator, and how the kernels are launched."""

from typing import Any

import torch
import triton
from torch import Tensor

from nas.kernels.branch_merge import triton_kernels
from nas.kernels.joint_gradient import gradient_memory
from nas.kernels.triton_elementwise import empty_output, rows, sum_partials, tokens_per_tile
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import multiprocessors, on_device, operand_dtype

FORWARD_TILE, BACKWARD_TILE = 2048, 1024
"""Elements of a tile: in half precision one load of 16 bytes a thread."""
FORWARD_WARPS, BACKWARD_WARPS = 8, 4
"""Warps of a program. The forward pass has more threads than a head has channels: with as many, Triton keeps the
layout of the weights' loads and moves the whole tiles to it, through shared memory.
"""
PROGRAMS, PAIR_PROGRAMS = 5, 3
"""Programs of the backward pass for each multiprocessor, which run at once: they have 96 and 165 registers a thread."""

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Gradients of o, other, weight, other_weight, scores, gate and mixture."""


def branch_merge(
    softmax_o: Tensor | None,
    linear_o: Tensor | None,
    softmax_weight: Tensor | None,
    linear_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    mixture: Tensor | None,
    eps: float,
) -> Tensor:
    """Compute `nas.kernels.branch_merge` of valid arguments."""
    dtype = operand_dtype(gate)
    branches = [
        (o.flatten(-2).to(dtype), weight)
        for o, weight in ((softmax_o, softmax_weight), (linear_o, linear_weight))
        if o is not None and weight is not None
    ]
    (o, weight), (other, other_weight) = (*branches, (None, None))[:2]
    return _forward(o, other, weight, other_weight, scores, gate.to(dtype), mixture, eps)


def _tiling(weight: Tensor, gate: Tensor, tile: int) -> dict[str, int]:
    """Return the kernels' heads, channels of a head, tokens of a tile, and channels padded to a power of two."""
    dim = weight.shape[0]
    padded = triton.next_power_of_2(dim)
    return {"HEADS": gate.shape[-1] // dim, "DIM": dim, "BT": tokens_per_tile(padded, tile), "BD": padded}


def _optional_rows(x: Tensor | None, instead: Tensor) -> Tensor:
    """Return `rows` of x, or ``instead`` if x is None: a placeholder that the kernels do not read."""
    return instead if x is None else rows(x)


def _run_forward(
    o: Tensor,
    other: Tensor | None,
    weight: Tensor,
    other_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    mixture: Tensor | None,
    eps: float,
) -> Tensor:
    """Merge one branch [B, T, D], or two."""
    first, gates = rows(o), rows(gate)
    second, shares = _optional_rows(other, first), _optional_rows(scores, first)
    y, weights = gate.new_empty(gate.shape), gate if mixture is None else mixture.contiguous()
    tiling = _tiling(weight, gate, FORWARD_TILE)
    grid = (tiling["HEADS"] * triton.cdiv(len(gates), tiling["BT"]),)
    with on_device(gate):
        triton_kernels.forward[grid](
            first, second, weight, other_weight, shares, gates, weights, y,
            len(gates), first.stride(0), second.stride(0), shares.stride(0), gates.stride(0), eps,
            **tiling, PAIR=other is not None, MIXED=mixture is not None, num_warps=FORWARD_WARPS,
        )  # fmt: skip
    return y


def _fake_forward(
    o: Tensor,
    other: Tensor | None,
    weight: Tensor,
    other_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    mixture: Tensor | None,
    eps: float,
) -> Tensor:
    return gate.new_empty(gate.shape)


def _run_backward(
    dy: Tensor,
    o: Tensor,
    other: Tensor | None,
    weight: Tensor,
    other_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    mixture: Tensor | None,
    eps: float,
) -> Gradients:
    """Return the gradients of the forward operator's tensors in order; empty tensors for inputs that are None."""
    dys, first, gates = rows(dy), rows(o), rows(gate)
    second, shares = _optional_rows(other, first), _optional_rows(scores, first)
    given = o, other, weight, other_weight, scores, gate, mixture
    do, dother, _, _, dscores, dgate, dmixture = gradients = _gradients(*given)
    weights = gate if mixture is None else mixture.contiguous()
    tiling = _tiling(weight, gate, BACKWARD_TILE)
    at_once = (PROGRAMS if other is None else PAIR_PROGRAMS) * multiprocessors(gate.device)
    programs = tiling["HEADS"] * min(triton.cdiv(len(gates), tiling["BT"]), max(1, at_once // tiling["HEADS"]))
    partials = gate.new_empty(1 if other is None else 2, programs, tiling["DIM"], dtype=torch.float32)
    of_mixture = partials if mixture is None else partials.new_empty(programs, len(mixture))
    with on_device(gate):
        triton_kernels.backward[(programs,)](
            dys, first, second, weight, other_weight, shares, gates, weights,
            do, dother, partials, dscores, dgate, of_mixture,
            len(gates), dys.stride(0), first.stride(0), second.stride(0), shares.stride(0), gates.stride(0),
            dgate.stride(-2), eps,
            **tiling, PAIR=other is not None, MIXED=mixture is not None, num_warps=BACKWARD_WARPS,
        )  # fmt: skip
    dother_weight = gradients[3] if other_weight is None else sum_partials(partials[1], other_weight)
    if mixture is not None:
        dmixture = sum_partials(of_mixture, mixture)
    return do, dother, sum_partials(partials[0], weight), dother_weight, dscores, dgate, dmixture


def _fake_backward(
    dy: Tensor,
    o: Tensor,
    other: Tensor | None,
    weight: Tensor,
    other_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    mixture: Tensor | None,
    eps: float,
) -> Gradients:
    return _gradients(o, other, weight, other_weight, scores, gate, mixture)


def _gradients(
    o: Tensor,
    other: Tensor | None,
    weight: Tensor,
    other_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    mixture: Tensor | None,
) -> Gradients:
    """Allocate uninitialised memory for each gradient, contiguous but for that of the gate."""
    made = [
        empty_output(o) if x is None else x.new_empty(x.shape)
        for x in (o, other, weight, other_weight, scores, mixture)
    ]
    return made[0], made[1], made[2], made[3], made[4], gradient_memory(gate), made[5]


Inputs = tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None, Tensor, Tensor | None, float]


def _save(ctx: Any, inputs: Inputs, output: Tensor) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    gradients = _backward(dy, *tensors, ctx.eps)
    return *(None if x is None else dx for x, dx in zip(tensors, gradients, strict=True)), None


_backward = Operator("branch_merge_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("branch_merge", _run_forward, _fake_forward, _save, _differentiate)
