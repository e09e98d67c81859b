"""Softmax attention of the last tokens of a sequence: the queries of a stretch, and keys from before."""

import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import Impl, RouteGrad
from nas.kernels.chunk_softmax_attention import chunk_softmax_attention


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

    Args:
        q: [B, T, H, K] queries of the last tokens.
        k, v: [B, S, G, K] and [B, S, G, V] of all tokens, S >= T. With a route, S - T is a multiple of chunk_size.
        route: [B, N, R] route of all chunks.
        chunk_size, window, route_grad, impl: as in `chunk_softmax_attention`.
    """
    earlier = k.shape[1] - q.shape[1]
    q = F.pad(q, (0, 0, 0, 0, earlier, 0)) if earlier else q
    options = {"chunk_size": chunk_size, "window": window, "route_grad": route_grad, "impl": impl}
    return chunk_softmax_attention(q, k, v, route, **options)[:, earlier:]  # type: ignore[arg-type]
