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
) -> None:
    """Raise ValueError unless the arguments form a valid call.

    Args:
        q, k: [B, T, G, K].
        v: [B, T, H, V], G divides H; g and beta must be [B, T, H].
        route: None, or [B, N, R] with N = ceil(T / chunk_size) and R a divisor of H.
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
    if route is not None:
        check_route(route, batch=batch, chunks=num_chunks(length, chunk_size), heads=heads, owner="v")


def check_state(initial_state: Tensor | None, q: Tensor, v: Tensor) -> None:
    """Raise ValueError unless initial_state is None or [B, H, K, V] for q [B, T, G, K] and v [B, T, H, V]."""
    check_tensors(("initial_state",), q=q, initial_state=initial_state)
    if initial_state is not None:
        batch, _, heads, value_dim = v.shape
        check_shape("initial_state", initial_state, (batch, heads, q.shape[-1], value_dim), "[B, H, K, V]")
