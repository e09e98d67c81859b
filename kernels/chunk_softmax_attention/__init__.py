"""Causal softmax attention over the own chunk and routed earlier chunks, or over a sliding window."""

from torch import Tensor

from nas.kernels.arguments import (
    Impl,
    RouteGrad,
    check_grouped,
    check_options,
    check_route,
    check_scale,
    check_tensors,
    check_window,
    num_chunks,
)
from nas.kernels.chunk_softmax_attention import reference
from nas.kernels.documents import chunks_of_documents, read_borders
from nas.kernels.triton_support import CHUNK_SIZES, choose

TRIALS, TRIALS_OF_WINDOWS = (
    "chunk_softmax_attention.chunk_softmax_attention",
    "chunk_softmax_attention.window_attention",
)
"""Names of the trials in `nas.kernels.chunk_softmax_attention.trials`, by which the kernels are tested."""


def chunk_softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    scale: float | None = None,
    window: int | None = None,
    cu_seqlens: Tensor | None = None,
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> Tensor:
    """Compute softmax attention over the own chunk and the routed earlier chunks, or over the last ``window`` tokens.

    With n(i) = i // chunk_size and s_ij = scale * q_i . k_j::

        w_ij = 1            if n(j) == n(i) and j <= i
             = route[n(j)]  if n(j) <  n(i)
             = 0            otherwise
        o_i  = sum_j w_ij exp(s_ij) v_j / sum_j w_ij exp(s_ij)

    Source: the softmax branch of NAtS-L (Deng et al. 2026, arXiv 2602.03681). With ``route=None`` it is
    plain causal attention. With ``window=w`` there is no route, w_ij is 1 where 0 <= i - j < w and 0 elsewhere, and
    time and memory grow as T * w.

    With ``cu_seqlens`` the tokens are several documents, one after another. Each is computed as in a call of its own:
    no query sees another document, and chunks are counted from the start of the document.

    The values of q, k, v and route are not checked, since this would wait for the GPU. The caller ensures that q, k and
    v are finite, and that the route lies in its range.

    Args:
        q: [B, T, H, K] queries, any T >= 1.
        k: [B, T, G, K] keys; G divides H, and H / G consecutive heads of q read one head of k and v.
        v: [B, T, G, V] values.
        route: [B, N, R] in [0, 1], N = ceil(T / chunk_size), R divides G: how much of each chunk later chunks see.
            Each routing head serves G / R consecutive heads of k, and the heads of q that read them. None means all
            ones. A route below the smallest normal number of the dtype (1.2e-38 in float32) counts as 0. With
            cu_seqlens, N is the sum of ceil(length / chunk_size) over the documents, in their order.
        chunk_size: tokens in a chunk, any integer >= 1; has no effect without a route.
        scale: factor on the scores; 1 / sqrt(K) by default.
        window: tokens that a query sees, itself included, any integer >= 1. None means all earlier tokens.
        cu_seqlens: [documents + 1] int32 or int64, for a batch of one: document n has the tokens cu_seqlens[n] to
            cu_seqlens[n + 1] - 1. Starts at 0, ends at T and never falls; documents may be empty. None means one
            document for each entry of the batch. The host reads its values: on the CPU this is free, on a GPU the call
            waits for that GPU.
        route_grad: "full" differentiates for every chunk; "selected" gives 0 where route == 0.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; see `nas.kernels.triton_support`),
                or "auto": Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        [B, T, H, V] in the dtype of v.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it.
    """
    check_options(chunk_size, route_grad, impl)
    check_grouped(q, k, v)
    check_tensors(("route",), q=q, route=route)
    borders = None if cu_seqlens is None else read_borders(cu_seqlens, "q", q)
    if route is not None:
        _check_route(route, q, k, chunk_size, borders)
    check_scale(scale)
    check_window(window, route)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if window is not None:
        return _window_attention(q, k, v, window, scale, borders, impl)
    arguments = (q, k, v, route, chunk_size, scale, route_grad == "full", borders)
    settings = {"routed": int(route is not None), "group": q.shape[2] // k.shape[2], "packed": int(borders is not None)}
    if choose(impl, q, k, v, chunk_size, TRIALS, **settings) == "triton":
        from nas.kernels.chunk_softmax_attention import triton_op

        return triton_op.chunk_softmax_attention(*arguments)
    return reference.chunk_softmax_attention(*arguments)


def _check_route(route: Tensor, q: Tensor, k: Tensor, chunk_size: int, borders: list[int] | None) -> None:
    """Raise ValueError unless route is [B, N, R]; ``borders`` are those of packed documents, None without."""
    chunks, formula = num_chunks(q.shape[1], chunk_size), "ceil(T / chunk_size)"
    if borders is not None:
        chunks = chunks_of_documents(borders, chunk_size)
        formula = "the sum of ceil(length / chunk_size) over documents"
    check_route(route, batch=q.shape[0], chunks=chunks, heads=k.shape[2], owner="k", of=formula)


def _window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, borders: list[int] | None, impl: Impl
) -> Tensor:
    """Attend to the last ``window`` tokens; a window as long as the sequence is plain causal attention."""
    chunk_size = CHUNK_SIZES[0]  # has no effect: any size that the Triton kernels support
    causal = window >= q.shape[1]
    trials, settings = (TRIALS, {"routed": 0}) if causal else (TRIALS_OF_WINDOWS, {})
    settings |= {"group": q.shape[2] // k.shape[2], "packed": int(borders is not None)}
    if choose(impl, q, k, v, chunk_size, trials, **settings) == "triton":
        from nas.kernels.chunk_softmax_attention import triton_op

        if causal:
            return triton_op.chunk_softmax_attention(q, k, v, None, chunk_size, scale, False, borders)
        return triton_op.window_attention(q, k, v, window, scale, borders)
    if causal:
        return reference.chunk_softmax_attention(q, k, v, None, chunk_size, scale, False, borders)
    return reference.window_attention(q, k, v, window, scale, borders)


__all__ = ["chunk_softmax_attention"]
