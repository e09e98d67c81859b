"""The gated delta rule one token at a time, with an explicit state; no step waits for the GPU.

Inside a chunk the full recurrence runs from the state at the chunk's start. When the chunk is full, its route scales
how much of the change is passed on. So two states are kept: the running state and the state at the chunk's start. The
decay since then is kept as its logarithm, a number per head. A step reads and writes the running state alone.

>>> import torch
>>> from nas.kernels.gated_delta_rule.decode import close_chunk, gated_delta_rule_step, initial_linear_state
>>> q = k = v = torch.ones(1, 2, 8)
>>> g, beta = -torch.ones(1, 2), torch.ones(1, 2)
>>> state = initial_linear_state(batch=1, heads=2, key_dim=8, value_dim=8)
>>> for token in range(4):
...     o, state = gated_delta_rule_step(q, k, v, g, beta, state)
>>> state = close_chunk(state, torch.tensor([[1.0, 0.0]]))  # after chunk_size tokens: head 1 skips this chunk
>>> state.current.count_nonzero(dim=(2, 3))
tensor([[64,  0]])
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor

from nas.kernels.arguments import (
    MAX_SIZE,
    Impl,
    check_choice,
    check_scale,
    check_shape,
    check_sizes,
    check_tensors,
    check_type,
    compute_dtype,
    without_autocast,
)
from nas.kernels.gated_delta_rule import gated_delta_rule
from nas.kernels.gated_delta_rule.checks import check_call
from nas.kernels.triton_support import CHUNK_SIZES, choose


class LinearState(NamedTuple):
    """State of decoding between tokens; float32 (float64 for float64 inputs), contiguous.

    Steps and `close_chunk` update these buffers in place, so that a captured CUDA graph can be replayed. Two
    continuations of one prefix need a copy each.
    """

    current: Tensor
    """[B, H, K, V] state after the last token, inside the running chunk."""
    start: Tensor
    """[B, H, K, V] state at the start of the running chunk."""
    log_decay: Tensor
    """[B, H] sum of g over the running chunk."""


def initial_linear_state(
    batch: int,
    heads: int,
    key_dim: int,
    value_dim: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> LinearState:
    """Return the state before the first token: zeros."""
    check_sizes(MAX_SIZE, batch=batch, heads=heads, key_dim=key_dim, value_dim=value_dim)
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype={dtype} is not allowed; it must be float32 or float64.")
    return _start_of_chunk(torch.zeros(batch, heads, key_dim, value_dim, dtype=dtype, device=device))


def _start_of_chunk(state: Tensor) -> LinearState:
    """Return the state of decoding at the start of a chunk, from copies of ``state`` [B, H, K, V]."""
    state = state.detach().contiguous()
    return LinearState(state.clone(), state.clone(), state.new_zeros(state.shape[:2]))


@torch.no_grad()
def gated_delta_rule_prefill(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    scale: float | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, LinearState]:
    """Process a whole prefix: `gated_delta_rule` without gradients, and the state from which decoding continues.

    Args:
        q, k, v, g, beta, route, chunk_size, scale, impl: as for `gated_delta_rule`. A last chunk that is
            not full stays open, and its route is not used.

    Returns:
        o [B, T, H, V] and the state, inside the open chunk where T % chunk_size != 0.
    """
    check_call(q, k, v, g, beta, route, chunk_size, scale, "selected", impl)
    batch, length, heads, value_dim = v.shape
    closed = length - length % chunk_size
    dtype = compute_dtype(q.dtype)
    state = initial_linear_state(batch, heads, q.shape[-1], value_dim, dtype=dtype, device=q.device)
    outputs = []
    if closed:
        o, final = gated_delta_rule(
            *(q[:, :closed], k[:, :closed], v[:, :closed], g[:, :closed], beta[:, :closed]),
            None if route is None else route[:, : closed // chunk_size],
            chunk_size=chunk_size,
            scale=scale,
            return_final_state=True,
            impl=impl,
        )
        state = _start_of_chunk(final)
        outputs.append(o)
    if closed < length:
        o, current = gated_delta_rule(
            *(q[:, closed:], k[:, closed:], v[:, closed:], g[:, closed:], beta[:, closed:]),
            chunk_size=chunk_size,
            scale=scale,
            initial_state=state.start,
            return_final_state=True,
            impl=impl,
        )
        state.current.copy_(current)
        state.log_decay.copy_(g[:, closed:].to(dtype).sum(1))
        outputs.append(o)
    return torch.cat(outputs, dim=1), state


@torch.no_grad()
def gated_delta_rule_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    state: LinearState,
    *,
    scale: float | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, LinearState]:
    """Compute one token of `nas.kernels.gated_delta_rule`; no gradients, no host synchronisation.

    Args:
        q, k: [B, G, K], G divides H; head h of v reads head h // (H / G) of q and k.
        v: [B, H, V].
        g: [B, H] natural logarithm of the decay, <= 0.
        beta: [B, H] write strength.
        state: the state before this token; ``current`` and ``log_decay`` are updated in place.
        scale: factor on the output; 1 / sqrt(K) by default.
        impl: as for `gated_delta_rule`.

    Returns:
        o [B, H, V] in the dtype of v, and the state after this token (the same buffers).

    Raises:
        ValueError: a shape, dtype, device or option is not as above; the message names it.
    """
    check_choice("impl", impl, get_args(Impl))
    check_scale(scale)
    _check_step(q, k, v, g, beta, state)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    chunk_size = CHUNK_SIZES[0]  # a step is the same at every chunk size
    if (
        choose(impl, q, k, v, chunk_size, "gated_delta_rule.gated_delta_rule_step", group=v.shape[1] // q.shape[1])
        == "triton"
    ):
        from nas.kernels.gated_delta_rule import triton_decode

        return triton_decode.step(q, k, v, g, beta, state.current, state.log_decay, scale), state
    return reference_step(q, k, v, g, beta, state, scale), state


@without_autocast
def reference_step(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: LinearState, scale: float
) -> Tensor:
    """Compute S <- exp(g) S; S <- S + k beta (v - k^T S)^T; o = scale q^T S."""
    output_dtype = v.dtype
    q, k, v, g, beta = (x.to(state.current.dtype) for x in (q, k, v, g, beta))
    q, k = (x.repeat_interleave(v.shape[1] // x.shape[1], dim=1) for x in (q, k))
    current = state.current.mul_(g.exp()[..., None, None])
    missing = v - torch.einsum("bhk,bhkv->bhv", k, current)
    current += k[..., :, None] * (beta[..., None] * missing)[..., None, :]
    state.log_decay.add_(g)
    return (scale * torch.einsum("bhk,bhkv->bhv", q, current)).to(output_dtype)


@torch.no_grad()
def close_chunk(state: LinearState, route: Tensor | None = None, *, where: Tensor | None = None) -> LinearState:
    """End the running chunk: pass on as much of its change of the state as the route says.

    Args:
        state: the state after the chunk's last token, updated in place.
        route: [B, R] in [0, 1] of this chunk, R divides H; None means ones.
        where: [B] bool, true for the sequences whose chunk ends; all by default.

    Returns:
        The state, with ``current`` equal to ``start`` in the sequences whose chunk ended.
    """
    check_type("state", state, LinearState)
    check_tensors(("route",), state=state.current, route=route)
    batch, heads = state.log_decay.shape
    if route is None:
        route = state.log_decay.new_ones(batch, 1)
    if route.ndim != 2 or route.shape[0] != batch or route.shape[1] == 0 or heads % route.shape[1]:
        raise ValueError(
            f"route has shape {list(route.shape)}; it must be [B, R] = [{batch}, R] with R a divisor of {heads} heads."
        )
    seen = route.to(state.current.dtype).repeat_interleave(heads // route.shape[1], dim=1)[..., None, None]
    unseen = state.start * state.log_decay.exp()[..., None, None]
    following = torch.lerp(unseen, state.current, seen)
    if where is None:
        state.start.copy_(following)
        state.log_decay.zero_()
    else:
        _check_mask("where", where, state.current)
        ends = where[:, None, None, None]
        state.start.copy_(torch.where(ends, following, state.start))
        following = torch.where(ends, following, state.current)
        state.log_decay.masked_fill_(where[:, None], 0.0)
    state.current.copy_(following)
    return state


def _check_mask(name: str, mask: Tensor, state: Tensor) -> None:
    """Raise ValueError unless mask is [B], bool and on the device of ``state`` [B, ...]."""
    check_type(name, mask, Tensor)
    batch = state.shape[0]
    if mask.device != state.device:
        raise ValueError(f"{name} is on {mask.device}; it must be on the device of state, {state.device}.")
    if mask.shape != (batch,) or mask.dtype != torch.bool:
        raise ValueError(
            f"{name} has shape {list(mask.shape)} and dtype {mask.dtype}; it must be [B] = [{batch}], bool."
        )


def _check_step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, state: LinearState) -> None:
    """Raise ValueError unless the tensors form a valid step."""
    check_type("state", state, LinearState)
    buffers = {f"state.{name}": buffer for name, buffer in state._asdict().items()}
    check_tensors(q=q, k=k, v=v, g=g, beta=beta, **buffers)
    if q.ndim != 3 or 0 in q.shape:
        raise ValueError(f"q has shape {list(q.shape)}; it must be [B, G, K] with every size at least 1.")
    batch, groups, key_dim = q.shape
    if v.ndim != 3 or 0 in v.shape:
        raise ValueError(f"v has shape {list(v.shape)}; it must be [B, H, V] with every size at least 1.")
    heads, value_dim = v.shape[1:]
    sizes = (batch, heads, key_dim, value_dim)
    if v.shape[0] != batch or heads % groups:
        raise ValueError(
            f"v has shape {list(v.shape)}; it must be [B, H, V] = {[batch, groups, value_dim]}, "
            f"or H a multiple of these {groups} heads of q."
        )
    check_shape("k", k, (batch, groups, key_dim), "[B, G, K]")
    check_shape("g", g, (batch, heads), "[B, H]")
    check_shape("beta", beta, (batch, heads), "[B, H]")
    check_shape("state.current", state.current, sizes, "[B, H, K, V]")
    check_shape("state.start", state.start, sizes, "[B, H, K, V]")
    check_shape("state.log_decay", state.log_decay, (batch, heads), "[B, H]")
    dtype = compute_dtype(q.dtype)
    for name, buffer in buffers.items():
        if buffer.dtype != dtype:
            raise ValueError(f"{name} has dtype {buffer.dtype}; for q in {q.dtype} it must be {dtype}.")
        if not buffer.is_contiguous():
            raise ValueError(f"{name} has strides {buffer.stride()}; it must be contiguous.")


__all__ = [
    "LinearState",
    "close_chunk",
    "gated_delta_rule_prefill",
    "gated_delta_rule_step",
    "initial_linear_state",
]
