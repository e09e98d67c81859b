"""Softmax attention and the gated delta rule of one routed layer, side by side on the same values."""

from typing import NamedTuple

import torch
from torch import Tensor

from kernels.arguments import Impl, RouteGrad
from kernels.chunk_softmax_attention import chunk_softmax_attention
from kernels.gated_delta_rule import gated_delta_rule
from kernels.hybrid_attention.streams import beside
from kernels.triton_support import multiprocessors


class HybridOutput(NamedTuple):
    """What each branch gives: softmax [B, T, softmax heads, channels] and linear [B, T, linear heads, channels]."""

    softmax: Tensor
    linear: Tensor


def hybrid_attention(
    softmax_q: Tensor,
    softmax_k: Tensor,
    linear_q: Tensor,
    linear_k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    softmax_route: Tensor,
    linear_route: Tensor,
    *,
    chunk_size: int = 64,
    decay_skipped: bool = True,
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> HybridOutput:
    """Both operations, each with its own normalised queries and keys, on the same values and chunks.

    Means the same as `chunk_softmax_attention` and `gated_delta_rule` called one after the other (NAtS-L, Deng et al.
    2026). Where the linear branch has too few heads to fill a GPU, the two run beside each other, backward too.

    Args:
        softmax_q, softmax_k: [B, T, softmax heads, K of a softmax head].
        linear_q, linear_k: [B, T, linear heads, K of a linear head].
        v: [B, T, channels]; each branch splits the channels over its own heads.
        g, beta: [B, T, linear heads], see `gated_delta_rule`.
        softmax_route, linear_route: [B, N, R], how much later chunks see of each chunk in each branch.
        chunk_size, decay_skipped, route_grad, impl: as in the two operations.

    Raises:
        ValueError: as the two operations do.
    """

    def softmax() -> Tensor:
        values = v.unflatten(-1, (softmax_q.shape[2], -1))
        return chunk_softmax_attention(
            softmax_q, softmax_k, values, softmax_route, chunk_size=chunk_size, route_grad=route_grad, impl=impl
        )

    def linear() -> Tensor:
        values = v.unflatten(-1, (linear_q.shape[2], -1))
        return gated_delta_rule(
            linear_q, linear_k, values, g, beta, linear_route, chunk_size=chunk_size, decay_skipped=decay_skipped,
            route_grad=route_grad, impl=impl,
        )  # fmt: skip

    if not v.is_cuda or torch.compiler.is_compiling() or _fills_gpu(v, linear_q.shape[2]):
        return HybridOutput(softmax(), linear())
    return HybridOutput(*beside(softmax, linear, inputs=(softmax_q, softmax_k, v, softmax_route)))


def _fills_gpu(v: Tensor, heads: int) -> bool:
    """Whether the programs that hand a state from chunk to chunk, one for 64 columns of a head, are enough."""
    batch, channels = v.shape[0], v.shape[-1]
    return batch * heads * max(1, channels // heads // 64) >= multiprocessors(v.device)


__all__ = ["HybridOutput", "hybrid_attention"]
