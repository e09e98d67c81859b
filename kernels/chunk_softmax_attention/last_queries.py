"""Softmax attention of the last tokens of a sequence: the queries of a stretch, and keys from before."""

import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from nas.kernels.arguments import Impl, RouteGrad
from nas.kernels.chunk_softmax_attention import TRIALS, chunk_softmax_attention
from nas.kernels.triton_support import choose, operand_dtype


def attention_of_last(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    window: int | None = None,
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> Tensor:
    """Compute the outputs [B, T, H, V] of `chunk_softmax_attention` for the last T of S tokens.

    Without a route and a window this is PyTorch's attention, by a fused kernel on a GPU. With a route, Triton's kernels
    skip whole blocks of queries of the earlier tokens. Otherwise these queries are computed too, and dropped.

    Args:
        q: [B, T, H, K] queries of the last tokens.
        k, v: [B, S, G, K] and [B, S, G, V] of all tokens, S >= T. With a route, S - T is a multiple of chunk_size.
        route: [B, N, R] route of all chunks.
        chunk_size, window, route_grad, impl: as in `chunk_softmax_attention`; without a route and a window, impl has no
            effect if S > T.
    """
    earlier = k.shape[1] - q.shape[1]
    if earlier and route is None and window is None:
        return _causal(q, k, v)
    q = F.pad(q, (0, 0, 0, 0, earlier, 0)) if earlier else q
    if route is not None and _uses_triton(q, k, v, chunk_size, impl):
        from nas.kernels.chunk_softmax_attention import triton_op

        options = (chunk_size, q.shape[-1] ** -0.5, route_grad == "full", None, earlier)
        return triton_op.chunk_softmax_attention(q, k, v, route, *options)[:, earlier:]
    return chunk_softmax_attention(
        q, k, v, route, chunk_size=chunk_size, window=window, route_grad=route_grad, impl=impl
    )[:, earlier:]


def _uses_triton(q: Tensor, k: Tensor, v: Tensor, chunk_size: int, impl: Impl) -> bool:
    return choose(impl, q, k, v, chunk_size, TRIALS, routed=1, group=q.shape[2] // k.shape[2], packed=0) == "triton"


def _causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend to all keys up to the position of a query; the last query has that of the last key."""
    mask = causal_lower_right(q.shape[1], k.shape[1])
    dtype = operand_dtype(q, k, v)  # PyTorch does not cast the operands of this mask under autocast
    q, k, v = (x.to(dtype).transpose(1, 2) for x in (q, k, v))
    o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
    return o.transpose(1, 2)
