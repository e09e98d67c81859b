"""The gated delta rule in PyTorch, parallel over chunks (WY form) with one short loop over them.

Within a chunk that starts from state S, the recurrence writes vectors u_t = beta_t (v_t - k_t^T S_t)
that solve a unit lower triangular system (Yang et al. 2024, arXiv 2406.06484; with decay 2412.06464)::

    (I + L) U = beta V - (beta exp(c) K) S,    L_ij = beta_i exp(c_i - c_j) k_i . k_j  for j < i

with c the running sum of g. U is affine in S, so is the state at the chunk's end, and so is, for any route,
the state that the next chunk starts from: S_{n+1} = A_n S_n + B_n. All A_n and B_n are computed at once; the
loop over chunks is one matrix product each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.arguments import compute_dtype, num_chunks


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    decay_skipped: bool,
    initial_state: Tensor | None,
    full_route_grad: bool,
) -> tuple[Tensor, Tensor]:
    """See `kernels.gated_delta_rule`; arguments are valid here. Returns o [B, T, H, V] and the final state."""
    dtype = compute_dtype(q.dtype)
    length = q.shape[1]
    q, k, v, g, beta = (_to_chunks(x.to(dtype), chunk_size) for x in (q, k, v, g, beta))

    c = g.cumsum(-1)  # [B, H, N, C]
    causal = torch.ones(chunk_size, chunk_size, dtype=torch.bool, device=q.device).tril()
    decay = (c[..., :, None] - c[..., None, :]).masked_fill(~causal, -torch.inf).exp()  # [B, H, N, C, C]
    system = (beta[..., None] * k) @ k.mT * decay  # unit_triangular ignores the diagonal and what is above
    from_start = c.exp()[..., None]
    right_side = torch.cat([v, from_start * k], dim=-1) * beta[..., None]
    solved = torch.linalg.solve_triangular(system, right_side, upper=False, unitriangular=True)
    u, w = solved.split([v.shape[-1], k.shape[-1]], dim=-1)  # written vectors: U = u - w S

    to_end = k * (c[..., -1:] - c).exp()[..., None]
    whole = c[..., -1].exp()[..., None, None]  # G_n
    transition, addition = _routed(to_end.mT @ w, to_end.mT @ u, whole, route, decay_skipped, full_route_grad)
    starts, final = _scan(transition, addition, initial_state)

    attention = (q @ k.mT) * decay
    o = (q * from_start) @ starts + attention @ torch.baddbmm(
        u.flatten(0, 2), w.flatten(0, 2), starts.flatten(0, 2), alpha=-1
    ).view_as(u)
    o = (scale * o).flatten(2, 3)[:, :, :length].transpose(1, 2)
    return o.to(v.dtype), final


def _to_chunks(x: Tensor, chunk_size: int) -> Tensor:
    """[B, T, H, ...] to [B, H, N, C, ...]; zeros fill the last chunk (no write, no decay)."""
    missing = num_chunks(x.shape[1], chunk_size) * chunk_size - x.shape[1]
    x = F.pad(x, (0, 0) * (x.ndim - 2) + (0, missing)) if missing else x
    return x.unflatten(1, (-1, chunk_size)).movedim(3, 1)


def _routed(
    forgets: Tensor, writes: Tensor, whole: Tensor, route: Tensor | None, decay_skipped: bool, full_route_grad: bool
) -> tuple[Tensor, Tensor]:
    """A [B, H, N, K, K] and B [B, H, N, K, V] of S_{n+1} = A_n S_n + B_n; the chunk's end is (G - forgets) S + writes."""
    identity = torch.eye(forgets.shape[-1], dtype=forgets.dtype, device=forgets.device)
    if route is None:
        return whole * identity - forgets, writes
    route = route.to(forgets.dtype)
    if not full_route_grad:
        route = torch.where(route == 0, route.detach(), route)
    heads = forgets.shape[1]
    r = route.transpose(1, 2).repeat_interleave(heads // route.shape[2], dim=1)[..., None, None]
    kept = whole if decay_skipped else 1 + r * (whole - 1)
    return kept * identity - r * forgets, r * writes


def _scan(transition: Tensor, addition: Tensor, initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
    """States at the start of every chunk [B, H, N, K, V] and after the last one [B, H, K, V]."""
    batch, heads = transition.shape[:2]
    if initial_state is None:
        state = torch.zeros_like(addition[:, :, 0]).flatten(0, 1)
    else:
        state = initial_state.to(addition.dtype).flatten(0, 1)
    states = [state]
    for a, b in zip(transition.flatten(0, 1).unbind(1), addition.flatten(0, 1).unbind(1), strict=True):
        state = torch.baddbmm(b, a, state)
        states.append(state)
    starts = torch.stack(states[:-1], dim=1).unflatten(0, (batch, heads))
    return starts, state.unflatten(0, (batch, heads))
