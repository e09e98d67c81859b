"""The two operations token by token, as in their equations: slow, simple, and without code of `kernels`.

Both compute in the dtype of their inputs (float64 in the tests) and are differentiable, the route included, so that
autograd through them gives the exact gradients. Tensors are as in `kernels`: q, k [B, T, H, K], v [B, T, H, V],
g, beta [B, T, H], route [B, N, R].
"""

import math

import torch
from torch import Tensor


def chunk_softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None, *, chunk_size: int, scale: float | None = None
) -> Tensor:
    """Compute o_i = sum_j w_ij exp(s_ij) v_j / sum_j w_ij exp(s_ij), one query i at a time."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    seen = _route_of_each_head(route, q, chunk_size)
    outputs = []
    for i in range(q.shape[1]):
        scores = scale * torch.einsum("bhk,bjhk->bhj", q[:, i], k[:, : i + 1])
        own = torch.ones_like(seen[..., 0])
        w = torch.stack(
            [own if j // chunk_size == i // chunk_size else seen[..., j // chunk_size] for j in range(i + 1)]
        )
        w = w.movedim(0, -1)
        top = scores.detach().masked_fill(w == 0, -math.inf).amax(-1, keepdim=True)
        e = w * (scores - top).exp()
        outputs.append(torch.einsum("bhj,bjhv->bhv", e, v[:, : i + 1]) / e.sum(-1, keepdim=True))
    return torch.stack(outputs, dim=1)


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int,
    scale: float | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute S <- exp(g) S; S <- S + k beta (v - k^T S)^T; o = scale q^T S; the route decides at each chunk's end."""
    batch, length, heads, key_dim = q.shape
    scale = 1 / math.sqrt(key_dim) if scale is None else scale
    seen = _route_of_each_head(route, q, chunk_size)
    state = q.new_zeros(batch, heads, key_dim, v.shape[-1]) if initial_state is None else initial_state
    outputs = []
    unseen = state  # the next chunk's start if this chunk's route is 0
    for t in range(length):
        decay = g[:, t].exp()[..., None, None]
        state = decay * state
        unseen = decay * unseen
        missing = v[:, t] - torch.einsum("bhk,bhkv->bhv", k[:, t], state)
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * missing)
        outputs.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
        if (t + 1) % chunk_size == 0 or t + 1 == length:
            state = unseen + seen[..., t // chunk_size, None, None] * (state - unseen)
            unseen = state
    return torch.stack(outputs, dim=1), state


def _route_of_each_head(route: Tensor | None, q: Tensor, chunk_size: int) -> Tensor:
    """Expand [B, N, R] to [B, H, N]: routing head h // (H / R) decides for head h; without a route all ones."""
    batch, length, heads, _ = q.shape
    if route is None:
        return q.new_ones(batch, heads, math.ceil(length / chunk_size))
    group = heads // route.shape[-1]
    return torch.stack([route[..., head // group] for head in range(heads)], dim=1)
