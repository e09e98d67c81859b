"""Softmax attention and the gated delta rule of one routed layer, side by side on the same values."""

from typing import NamedTuple

from torch import Tensor

from nas.kernels.arguments import (
    Impl,
    RouteGrad,
    check_gates,
    check_options,
    check_queries,
    check_route,
    check_tensors,
    num_chunks,
)
from nas.kernels.chunk_softmax_attention import chunk_softmax_attention
from nas.kernels.gated_delta_rule import gated_delta_rule
from nas.kernels.triton_support import choose, self_test_failure


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
    et al. 2026). On a GPU the two run concurrently, in the backward pass too. The values of tensors are the caller's
    duty, as in the two operations.

    Args:
        softmax_q, softmax_k: [B, T, softmax heads, K of a softmax head].
        linear_q, linear_k: [B, T, linear heads, K of a linear head].
        v: [B, T, channels]; each branch splits the channels over its own heads.
        g, beta: [B, T, linear heads], see `gated_delta_rule`.
        softmax_route, linear_route: [B, N, R], how much of each chunk later chunks see in each branch.
        chunk_size, route_grad, impl: as in the two operations.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it.
    """
    check_options(chunk_size, route_grad, impl)
    tensors = {"softmax_q": softmax_q, "softmax_k": softmax_k, "linear_q": linear_q, "linear_k": linear_k, "v": v}
    tensors |= {"softmax_route": softmax_route, "linear_route": linear_route}
    check_tensors(**tensors)
    _check_branch("softmax_", softmax_q, softmax_k, v, softmax_route, chunk_size)
    _check_branch("linear_", linear_q, linear_k, v, linear_route, chunk_size)
    check_gates(linear_q, g, beta)
    softmax_v, linear_v = (v.unflatten(-1, (q.shape[2], -1)) for q in (softmax_q, linear_q))
    impls = {
        choose(
            impl, softmax_q, softmax_k, softmax_v, chunk_size, "chunk_softmax_attention.chunk_softmax_attention",
            routed=1, group=1, packed=0,
        ),
        choose(
            impl, linear_q, linear_k, linear_v, chunk_size, "gated_delta_rule.gated_delta_rule",
            routed=1, group=1, packed=0,
        ),
    }  # fmt: skip
    concurrent = impls == {"triton"} and not self_test_failure(
        "hybrid_attention.hybrid_attention", softmax_q, softmax_k, linear_q, linear_k, v,
        softmax_K=softmax_q.shape[-1], softmax_V=softmax_v.shape[-1], K=linear_q.shape[-1], V=linear_v.shape[-1],
        chunk_size=chunk_size,
    )  # fmt: skip
    if concurrent:
        from nas.kernels.hybrid_attention import triton_op

        arguments = (softmax_q, softmax_k, linear_q, linear_k, v, g, beta, softmax_route, linear_route)
        return HybridOutput(*triton_op.hybrid_attention(*arguments, chunk_size, route_grad == "full"))
    return HybridOutput(
        chunk_softmax_attention(
            softmax_q, softmax_k, softmax_v, softmax_route, chunk_size=chunk_size, route_grad=route_grad, impl=impl
        ),
        gated_delta_rule(
            linear_q, linear_k, linear_v, g, beta, linear_route, chunk_size=chunk_size, route_grad=route_grad,
            impl=impl,
        ),
    )  # fmt: skip


def _check_branch(branch: str, q: Tensor, k: Tensor, v: Tensor, route: Tensor, chunk_size: int) -> None:
    """Raise ValueError unless the tensors of a branch fit each other; ``branch`` precedes their names in messages."""
    check_queries(q, k, branch)
    batch, length, heads, _ = q.shape
    if v.ndim != 3 or v.shape[:2] != q.shape[:2] or v.shape[2] == 0 or v.shape[2] % heads:
        raise ValueError(
            f"v has shape {list(v.shape)}; it must be [B, T, channels] = [{batch}, {length}, channels], "
            f"with channels a multiple of the {heads} heads of {branch}q."
        )
    check_route(route, batch=batch, chunks=num_chunks(length, chunk_size), heads=heads, branch=branch)


__all__ = ["HybridOutput", "hybrid_attention"]
