"""Routes of a mixture in Triton: the registered operator, its backward operator, and how the kernels are launched."""

from typing import Any

import torch
import triton
from torch import Tensor

from nas.kernels.mixed_routes import triton_kernels
from nas.kernels.triton_elementwise import sum_partials
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import on_device

BLOCK = 1024
"""Chunks of a program."""
WARPS = 4


def mixed_routes(weights: Tensor, first: Tensor, second: Tensor, hybrid: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `nas.kernels.mixed_routes` of valid arguments."""
    kept, compressed = _forward(weights, torch.stack([first, second, hybrid]).float()).unbind()
    return kept, compressed


def _run_forward(weights: Tensor, mixture: Tensor) -> Tensor:
    given, routes = weights.contiguous(), _fake_forward(weights, mixture)
    count = routes[0].numel()
    with on_device(weights):
        triton_kernels.forward[(triton.cdiv(count, BLOCK),)](
            given, mixture, routes, count, BLOCK=BLOCK, num_warps=WARPS
        )
    return routes


def _fake_forward(weights: Tensor, mixture: Tensor) -> Tensor:
    return weights.new_empty(2, *weights.shape[:-1])


def _run_backward(droutes: Tensor, weights: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor]:
    given, (dfirst, dsecond) = weights.contiguous(), droutes.contiguous()
    dweights, count = weights.new_empty(weights.shape), dfirst.numel()
    programs = triton.cdiv(count, BLOCK)
    partials = mixture.new_empty(programs, len(mixture))
    with on_device(weights):
        triton_kernels.backward[(programs,)](
            dfirst, dsecond, given, mixture, dweights, partials, count, BLOCK=BLOCK, num_warps=WARPS
        )
    return dweights, sum_partials(partials, mixture)


def _fake_backward(droutes: Tensor, weights: Tensor, mixture: Tensor) -> tuple[Tensor, Tensor]:
    return weights.new_empty(weights.shape), mixture.new_empty(mixture.shape)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, droutes: Tensor) -> tuple[Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor] = _backward(droutes, *ctx.saved_tensors)
    return gradients


_backward = Operator("mixed_routes_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("mixed_routes", _run_forward, _fake_forward, _save, _differentiate)
