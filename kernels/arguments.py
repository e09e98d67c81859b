"""Checks of the arguments that the operations share, with their messages.

They read types, shapes, dtypes and devices only. The values of a tensor are not read: on a GPU this would wait for it.
"""

import functools
import math
from collections.abc import Callable, Collection
from typing import Literal, ParamSpec, TypeVar, get_args

import torch
from torch import Tensor

RouteGrad = Literal["selected", "full"]
Impl = Literal["auto", "reference", "triton"]

LONGEST_PADDING = 256
"""Tokens up to which a chunk longer than its sequence is padded: results at usual chunk sizes do not depend on it."""

MAX_SIZE = 2**31 - 1
"""Largest size of a cache or a state that is allocated: their indices are int32."""

P = ParamSpec("P")
R = TypeVar("R")


def num_chunks(length: int, chunk_size: int) -> int:
    """Return the number of chunks N = ceil(T / chunk_size); the last chunk may be short."""
    return -(-length // chunk_size)


def bounded_chunk_size(chunk_size: int, length: int) -> int:
    """Return a chunk size with the same chunks, for which padding to a whole chunk takes little memory."""
    return min(chunk_size, max(length, LONGEST_PADDING))


def check_choice(name: str, given: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless ``given`` is one of ``choices``."""
    if given not in choices:
        raise ValueError(f"{name}={given!r} is unknown; choose one of: {', '.join(choices)}.")


def check_type(name: str, given: object, wanted: type) -> None:
    """Raise ValueError unless ``given`` is an instance of ``wanted``."""
    if not isinstance(given, wanted):
        raise ValueError(f"{name} is of type {type(given).__name__}; it must be a {wanted.__name__}.")


def check_tensors(optional: Collection[str] = (), **tensors: object) -> None:
    """Raise ValueError unless all are floating-point tensors on one device; those named ``optional`` may be None."""
    first, device = "", None
    for name, tensor in tensors.items():
        if tensor is None and name in optional:
            continue
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} is of type {type(tensor).__name__}; it must be a tensor.")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} has dtype {tensor.dtype}; it must be a floating-point dtype.")
        if device is None:
            first, device = name, tensor.device
        elif tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device}; it must be on the device of {first}, {device}.")


def check_dtype(dtype: torch.dtype) -> None:
    """Raise ValueError unless dtype is a floating-point dtype."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype!r} is not allowed; it must be a floating-point dtype.")


def check_number(name: str, number: float, least: float = -math.inf) -> None:
    """Raise ValueError unless ``number`` is finite and at least ``least``."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not least <= number < math.inf:
        allowed = "a finite number" if least == -math.inf else f"a finite number of at least {least:g}"
        raise ValueError(f"{name}={number!r} is not allowed; it must be {allowed}.")


def check_scale(scale: float | None) -> None:
    """Raise ValueError unless scale is None or finite."""
    if scale is not None:
        check_number("scale", scale)


def check_options(chunk_size: int, route_grad: str, impl: str) -> None:
    """Raise ValueError unless the options of a routed operation are valid."""
    check_choice("impl", impl, get_args(Impl))
    check_choice("route_grad", route_grad, get_args(RouteGrad))
    check_sizes(chunk_size=chunk_size)


def check_queries(q: Tensor, k: Tensor, branch: str = "") -> None:
    """Raise ValueError unless q and k are [B, T, H, K]; ``branch`` precedes their names in messages."""
    if q.ndim != 4 or 0 in q.shape:
        raise ValueError(f"{branch}q has shape {list(q.shape)}; it must be [B, T, H, K] with every size at least 1.")
    if k.shape != q.shape:
        raise ValueError(f"{branch}k has shape {list(k.shape)}; it must have the shape of {branch}q, {list(q.shape)}.")


def check_grouped(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Raise ValueError unless q is [B, T, H, K], k [B, T, G, K] and v [B, T, G, V], with G a divisor of H."""
    check_tensors(q=q, k=k, v=v)
    check_queries(q, q)
    if k.ndim != 4 or k.shape != (*q.shape[:2], k.shape[2], q.shape[3]) or k.shape[2] == 0:
        raise ValueError(f"k has shape {list(k.shape)}; it must have the shape of q, {list(q.shape)}, or fewer heads.")
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"k has {k.shape[2]} heads; that number must divide the {q.shape[2]} heads of q.")
    if v.ndim != 4 or v.shape[:3] != k.shape[:3] or v.shape[3] == 0:
        raise ValueError(
            f"v has shape {list(v.shape)}; it must be [B, T, H, V] with [B, T, H] = {list(k.shape[:3])}, as in k."
        )


def check_route(
    route: Tensor,
    *,
    batch: int,
    chunks: int,
    heads: int,
    branch: str = "",
    owner: str = "q",
    of: str = "ceil(T / chunk_size)",
) -> None:
    """Raise ValueError unless route is [batch, chunks, R] with R dividing the heads of ``owner``.

    ``branch`` precedes the names of tensors in messages; ``of`` is the formula of the number of chunks.
    """
    if route.ndim != 3 or route.shape[0] != batch or route.shape[1] != chunks:
        raise ValueError(
            f"{branch}route has shape {list(route.shape)}; it must be [B, N, R] = [{batch}, {chunks}, R], "
            f"with N = {of}."
        )
    if route.shape[2] == 0 or heads % route.shape[2]:
        raise ValueError(
            f"{branch}route has {route.shape[2]} routing heads (its last size); "
            f"that number must divide the {heads} heads of {branch}{owner}."
        )


def check_window(window: int | None, route: Tensor | None) -> None:
    """Raise ValueError unless window is None, or an integer of at least 1 without a route."""
    if window is None:
        return
    check_sizes(window=window)
    if route is not None:
        raise ValueError(
            f"route with shape {list(route.shape)} is not allowed with window={window}; give route=None, or no window."
        )


def check_sizes(most: float = math.inf, **sizes: int) -> None:
    """Raise ValueError unless all are integers from 1 to ``most``."""
    allowed = "an integer of at least 1" + ("" if most == math.inf else f" and at most {most}")
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= most:
            raise ValueError(f"{name}={size!r} is not allowed; it must be {allowed}.")


def check_prefix(k: Tensor, v: Tensor, route: Tensor | None = None) -> None:
    """Raise ValueError unless k is [B, T, H, K] and v [B, T, H, V], with the same B, T and H."""
    check_tensors(("route",), k=k, v=v, route=route)
    if k.ndim != 4 or 0 in k.shape:
        raise ValueError(f"k has shape {list(k.shape)}; it must be [B, T, H, K] with every size at least 1.")
    if v.ndim != 4 or v.shape[:3] != k.shape[:3] or v.shape[3] == 0:
        raise ValueError(f"v has shape {list(v.shape)}; it must be [B, T, H, V] with [B, T, H] = {list(k.shape[:3])}.")


def check_token(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, batch: int, heads: int) -> None:
    """Raise ValueError unless q [batch, H, K], k [batch, heads, K] and v [batch, heads, V] fit a cache.

    Args:
        heads: heads of the cache, a divisor of H.
        keys, values: [..., K] and [..., V] of the cache, of one dtype on one device.
    """
    check_tensors(cache=keys, q=q, k=k, v=v)
    grouped = q.ndim == 3 and q.shape[1] > 0 and q.shape[1] % heads == 0
    of_q = (batch, q.shape[1] if grouped else heads, keys.shape[-1])
    check_shape("q", q, of_q, "[B, H, K] of the cache, or with a multiple of its heads,")
    check_shape("k", k, (batch, heads, keys.shape[-1]), "[B, H, K] of the cache")
    check_shape("v", v, (batch, heads, values.shape[-1]), "[B, H, V] of the cache")
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if compute_dtype(tensor.dtype) != compute_dtype(keys.dtype):
            raise ValueError(
                f"{name} has dtype {tensor.dtype}, and the cache {keys.dtype}; both must be float64 or neither."
            )


def check_gates(q: Tensor, g: Tensor, beta: Tensor) -> None:
    """Raise ValueError unless g and beta are [B, T, H] for q [B, T, H, K]."""
    check_tensors(q=q, g=g, beta=beta)
    for name, gate in (("g", g), ("beta", beta)):
        check_shape(name, gate, tuple(q.shape[:3]), "[B, T, H]")


def check_shape(name: str, tensor: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    """Raise ValueError unless ``tensor`` has exactly ``shape``."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; it must be {meaning} = {list(shape)}.")


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
