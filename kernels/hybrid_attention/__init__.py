"""Softmax attention and the gated delta rule of one routed layer, side by side on the same values."""

from typing import NamedTuple

from torch import Tensor

from nas.kernels.arguments import Impl, RouteGrad, check_gates, check_operation
from nas.kernels.chunk_softmax_attention import chunk_softmax_attention
from nas.kernels.gated_delta_rule import gated_delta_rule
from nas.kernels.triton_support import choose


class HybridOutput(NamedTuple):
    """Output of each branch: softmax [B, T, softmax heads, channels] and linear [B, T, linear heads, channels]."""

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
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> HybridOutput:
    """Compute both operations, each with its own normalised queries and keys, on the same values and chunks.

    The result equals that of `chunk_softmax_attention` and `gated_delta_rule`, called one after the other (NAtS-L, Deng
    et al. 2026). On a GPU the two run concurrently, in the backward pass too.

    Args:
        softmax_q, softmax_k: [B, T, softmax heads, K of a softmax head].
        linear_q, linear_k: [B, T, linear heads, K of a linear head].
        v: [B, T, channels]; each branch splits the channels over its own heads.
        g, beta: [B, T, linear heads], see `gated_delta_rule`.
        softmax_route, linear_route: [B, N, R], how much of each chunk later chunks see in each branch.
        chunk_size, route_grad, impl: as in the two operations.

    Raises:
        ValueError: as the two operations do.
    """
    softmax_v, linear_v = (v.unflatten(-1, (q.shape[2], -1)) for q in (softmax_q, linear_q))
    check_operation(softmax_q, softmax_k, softmax_v, softmax_route, chunk_size, route_grad, impl)
    check_operation(linear_q, linear_k, linear_v, linear_route, chunk_size, route_grad, impl)
    check_gates(linear_q, g, beta)
    impls = {choose(impl, q, k, values, chunk_size) for q, k, values in (
        (softmax_q, softmax_k, softmax_v), (linear_q, linear_k, linear_v)
    )}  # fmt: skip
    if impls == {"triton"}:
        from nas.kernels.hybrid_attention import triton_op

        tensors = (softmax_q, softmax_k, linear_q, linear_k, v, g, beta, softmax_route, linear_route)
        return HybridOutput(*triton_op.hybrid_attention(*tensors, chunk_size, route_grad == "full"))
    return HybridOutput(
        chunk_softmax_attention(
            softmax_q, softmax_k, softmax_v, softmax_route, chunk_size=chunk_size, route_grad=route_grad, impl=impl
        ),
        gated_delta_rule(
            linear_q, linear_k, linear_v, g, beta, linear_route, chunk_size=chunk_size, route_grad=route_grad,
            impl=impl,
        ),
    )  # fmt: skip


__all__ = ["HybridOutput", "hybrid_attention"]
