"""Trials of the norms of heads on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nas.kernels.head_norms import decode, reference, triton_decode, triton_op
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import LENGTHS, Draw


def head_norms(device: torch.device, channels: int, linear_heads: int, softmax_heads: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles; 0 heads mean that a branch is not computed."""

    def by(operation: Callable[..., Any]) -> Function:
        def run(x: Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
            l2, rms = operation(x, weight, linear_heads or None, softmax_heads or None, 1e-6)
            return {name: y for name, y in (("l2", l2), ("rms", rms)) if y is not None}

        return run

    for length in LENGTHS:
        draw = Draw()
        inputs = {"x": draw.normal(1, length, channels)}
        if softmax_heads:
            inputs["weight"] = 1 + draw.uniform(channels // softmax_heads)
        yield Trial(inputs, by(reference.head_norms), by(triton_op.head_norms))


def norms_of_both(device: torch.device, channels: int, linear_heads: int, softmax_heads: int) -> Iterator[Trial]:
    """Yield queries and keys of three sequences; 0 heads mean that a branch is not computed."""

    def by(operation: Callable[..., Any]) -> Function:
        @torch.no_grad()
        def run(q: Tensor, k: Tensor, **weights: Tensor) -> dict[str, Tensor]:
            given = weights.get("q_weight"), weights.get("k_weight")
            both = operation(q, k, *given, linear_heads or None, softmax_heads or None, 1e-6)
            named = zip(("l2 of q", "rms of q", "l2 of k", "rms of k"), (*both[0], *both[1]), strict=True)
            return {name: y for name, y in named if y is not None}

        return run

    draw = Draw()
    inputs = {name: draw.normal(3, 1, channels) for name in "qk"}
    if softmax_heads:
        inputs |= {f"{name}_weight": 1 + draw.uniform(channels // softmax_heads) for name in "qk"}
    yield Trial(inputs, by(decode.reference_of_both), by(triton_decode.norms_of_both))
