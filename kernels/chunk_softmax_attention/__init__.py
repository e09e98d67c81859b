"""Causal softmax attention in which earlier chunks are seen as far as their route says."""

from torch import Tensor

from nas.kernels.arguments import Impl, RouteGrad, check_operation
from nas.kernels.chunk_softmax_attention import reference
from nas.kernels.triton_support import choose


def chunk_softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    scale: float | None = None,
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> Tensor:
    """Softmax attention over the own chunk and the routed earlier chunks.

    With n(i) = i // chunk_size and s_ij = scale * q_i . k_j::

        w_ij = 1            if n(j) == n(i) and j <= i
             = route[n(j)]  if n(j) <  n(i)
             = 0            otherwise
        o_i  = sum_j w_ij exp(s_ij) v_j / sum_j w_ij exp(s_ij)

    Source: the softmax branch of NAtS-L (Deng et al. 2026, arXiv 2602.03681). With ``route=None`` it is
    plain causal attention.

    Args:
        q, k: [B, T, H, K] queries and keys, any T >= 1.
        v: [B, T, H, V] values.
        route: [B, N, R] in [0, 1], N = ceil(T / chunk_size), R divides H: how much later chunks see of
            each chunk. Each routing head serves H / R consecutive heads. None means all ones.
        chunk_size: tokens in a chunk, any integer >= 1.
        scale: factor on the scores; 1 / sqrt(K) by default.
        route_grad: "full" differentiates for every chunk; "selected" gives 0 where route == 0.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; see `nas.kernels.triton_support`),
            or "auto": Triton on CUDA where it can, the reference otherwise.

    Returns:
        [B, T, H, V] in the dtype of v.

    Raises:
        ValueError: a shape, dtype or option is not as above; the message names it.
    """
    check_operation(q, k, v, route, chunk_size, route_grad, impl)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    arguments = (q, k, v, route, chunk_size, scale, route_grad == "full")
    if choose(impl, q, k, v, chunk_size) == "triton":
        from nas.kernels.chunk_softmax_attention import triton_op

        return triton_op.chunk_softmax_attention(*arguments)
    return reference.chunk_softmax_attention(*arguments)


__all__ = ["chunk_softmax_attention"]
