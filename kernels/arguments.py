"""Checks of the arguments that the operations share, with their messages."""

import functools
from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor

RouteGrad = Literal["selected", "full"]
Impl = Literal["auto", "reference", "triton"]

P = ParamSpec("P")
R = TypeVar("R")


def num_chunks(length: int, chunk_size: int) -> int:
    """Return the number of chunks N = ceil(T / chunk_size); the last chunk may be short."""
    return -(-length // chunk_size)


def check_choice(name: str, given: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``given`` is one of ``choices``."""
    if given not in choices:
        raise ValueError(f"{name}={given!r} is unknown; choose one of: {', '.join(choices)}.")


def check_operation(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None, chunk_size: int, route_grad: str, impl: str
) -> None:
    """Raise ValueError unless q, k, v, route and the options form a valid routed operation.

    Args:
        q: [B, T, H, K] queries; k must have the same shape, v is [B, T, H, V].
        route: None, or [B, N, R] with N = ceil(T / chunk_size) and R a divisor of H.
    """
    check_choice("impl", impl, get_args(Impl))
    check_choice("route_grad", route_grad, get_args(RouteGrad))
    check_sizes(chunk_size=chunk_size)
    if q.ndim != 4 or 0 in q.shape:
        raise ValueError(f"q has shape {list(q.shape)}; it must be [B, T, H, K] with every size at least 1.")
    if k.shape != q.shape:
        raise ValueError(f"k has shape {list(k.shape)}; it must have the shape of q, {list(q.shape)}.")
    if v.ndim != 4 or v.shape[:3] != q.shape[:3] or v.shape[3] == 0:
        raise ValueError(f"v has shape {list(v.shape)}; it must be [B, T, H, V] with [B, T, H] = {list(q.shape[:3])}.")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not tensor.is_floating_point():
            raise ValueError(f"{name} has dtype {tensor.dtype}; it must be a floating-point dtype.")
    check_device(q, k=k, v=v, route=route)
    if route is not None:
        check_route(route, batch=q.shape[0], chunks=num_chunks(q.shape[1], chunk_size), heads=q.shape[2])


def check_route(route: Tensor, *, batch: int, chunks: int, heads: int) -> None:
    """Raise ValueError unless route is [batch, chunks, R] with R dividing heads."""
    if route.ndim != 3 or route.shape[0] != batch or route.shape[1] != chunks:
        raise ValueError(
            f"route has shape {list(route.shape)}; it must be [B, N, R] = [{batch}, {chunks}, R], "
            "with N = ceil(T / chunk_size)."
        )
    if route.shape[2] == 0 or heads % route.shape[2]:
        raise ValueError(
            f"route has {route.shape[2]} routing heads (its last size); that number must divide the {heads} heads of q."
        )
    if not route.is_floating_point():
        raise ValueError(f"route has dtype {route.dtype}; it must be a floating-point dtype with values in [0, 1].")


def check_window(window: int | None, route: Tensor | None) -> None:
    """Raise ValueError unless window is None, or an integer of at least 1 without a route."""
    if window is None:
        return
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise ValueError(f"window={window!r} is not allowed; it must be None or an integer of at least 1.")
    if route is not None:
        raise ValueError(
            f"route with shape {list(route.shape)} is not allowed with window={window}; give route=None, or no window."
        )


def check_sizes(**sizes: int) -> None:
    """Raise ValueError unless all are integers of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"{name}={size!r} is not allowed; it must be an integer of at least 1.")


def check_prefix(k: Tensor, v: Tensor) -> None:
    """Raise ValueError unless k is [B, T, H, K] and v [B, T, H, V], with the same B, T and H."""
    if k.ndim != 4 or 0 in k.shape:
        raise ValueError(f"k has shape {list(k.shape)}; it must be [B, T, H, K] with every size at least 1.")
    if v.ndim != 4 or v.shape[:3] != k.shape[:3] or v.shape[3] == 0:
        raise ValueError(f"v has shape {list(v.shape)}; it must be [B, T, H, V] with [B, T, H] = {list(k.shape[:3])}.")
    for name, tensor in (("k", k), ("v", v)):
        if not tensor.is_floating_point():
            raise ValueError(f"{name} has dtype {tensor.dtype}; it must be a floating-point dtype.")


def check_token(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, batch: int, heads: int) -> None:
    """Raise ValueError unless q, k [batch, heads, K] and v [batch, heads, V] fit a cache of keys and values.

    Args:
        keys, values: [..., K] and [..., V] of the cache, of one dtype on one device.
    """
    for name, tensor, cached, dim in (("q", q, keys, "K"), ("k", k, keys, "K"), ("v", v, values, "V")):
        check_shape(name, tensor, (batch, heads, cached.shape[-1]), f"[B, H, {dim}] of the cache")
        if compute_dtype(tensor.dtype) != compute_dtype(keys.dtype):
            raise ValueError(
                f"{name} has dtype {tensor.dtype}, and the cache {keys.dtype}; both must be float64 or neither."
            )
        if tensor.device != keys.device:
            raise ValueError(f"{name} is on {tensor.device}; it must be on the device of the cache, {keys.device}.")


def check_gates(q: Tensor, g: Tensor, beta: Tensor) -> None:
    """Raise ValueError unless g and beta are [B, T, H] for q [B, T, H, K]."""
    for name, gate in (("g", g), ("beta", beta)):
        check_shape(name, gate, tuple(q.shape[:3]), "[B, T, H]")
    check_device(q, g=g, beta=beta)


def check_device(q: Tensor, **others: Tensor | None) -> None:
    """Raise ValueError unless all are on the device of q."""
    for name, tensor in others.items():
        if tensor is not None and tensor.device != q.device:
            raise ValueError(f"{name} is on {tensor.device}; it must be on the device of q, {q.device}.")


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    """Raise ValueError unless ``tensor`` is floating point and has exactly ``shape``."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; it must be {meaning} = {list(shape)}.")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} has dtype {tensor.dtype}; it must be a floating-point dtype.")


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of computation: float32 for half-precision inputs, the dtype itself otherwise."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap ``function`` to run with autocast off: an operation chooses its own dtypes (see `compute_dtype`)."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        device = next(x.device.type for x in args if isinstance(x, Tensor))
        if not torch.amp.is_autocast_available(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run
