"""Checks of the arguments of the gated delta rule, with their messages."""

from torch import Tensor

from nas.kernels.arguments import (
    check_options,
    check_queries,
    check_route,
    check_scale,
    check_shape,
    check_tensors,
    num_chunks,
)
from nas.kernels.documents import chunks_of_documents, read_borders


def check_call(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float | None,
    route_grad: str,
    impl: str,
    cu_seqlens: Tensor | None = None,
) -> list[int] | None:
    """Return the borders of packed documents, None without; raise ValueError unless the arguments form a valid call.

    Args:
        q, k: [B, T, G, K].
        v: [B, T, H, V], G divides H; g and beta must be [B, T, H].
        route: None, or [B, N, R] with N the number of chunks and R a divisor of H.
        cu_seqlens: see `nas.kernels.documents.read_borders`.
    """
    check_options(chunk_size, route_grad, impl)
    check_scale(scale)
    check_tensors(("route",), q=q, k=k, v=v, g=g, beta=beta, route=route)
    check_queries(q, k)
    batch, length, groups, _ = q.shape
    if v.ndim != 4 or v.shape[:2] != q.shape[:2] or 0 in v.shape or v.shape[2] % groups:
        raise ValueError(
            f"v has shape {list(v.shape)}; it must be [B, T, H, V] with [B, T, H] = {list(q.shape[:3])}, "
            f"or H a multiple of these {groups} heads of q."
        )
    heads = v.shape[2]
    for name, gate in (("g", g), ("beta", beta)):
        check_shape(name, gate, (batch, length, heads), "[B, T, H]")
    borders = None if cu_seqlens is None else read_borders(cu_seqlens, "q", q)
    if route is not None and borders is None:
        check_route(route, batch=batch, chunks=num_chunks(length, chunk_size), heads=heads, owner="v")
    elif route is not None and borders is not None:
        chunks, formula = (
            chunks_of_documents(borders, chunk_size),
            "the sum of ceil(length / chunk_size) over documents",
        )
        check_route(route, batch=batch, chunks=chunks, heads=heads, owner="v", of=formula)
    return borders


def check_state(initial_state: Tensor | None, q: Tensor, v: Tensor, documents: int | None = None) -> None:
    """Raise ValueError unless initial_state is None or [B, H, K, V]; [documents, H, K, V] for packed documents."""
    check_tensors(("initial_state",), q=q, initial_state=initial_state)
    if initial_state is not None:
        batch, _, heads, value_dim = v.shape
        meaning = "[B, H, K, V]" if documents is None else "[documents, H, K, V]"
        sizes = (batch if documents is None else documents, heads, q.shape[-1], value_dim)
        check_shape("initial_state", initial_state, sizes, meaning)
