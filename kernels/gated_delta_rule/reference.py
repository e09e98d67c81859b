"""The gated delta rule in PyTorch, parallel over chunks (WY form) with one short loop over them.

Within a chunk that starts from state S, the recurrence writes vectors u_t = beta_t (v_t - k_t^T S_t)
that solve a unit lower triangular system (Yang et al. 2024, arXiv 2406.06484; with decay 2412.06464)::

    (I + L) (U - W S) = beta V - (beta exp(c) K) S,    L_ij = beta_i exp(c_i - c_j) k_i . k_j  for j < i

with c the running sum of g. U and W do not depend on S, so they are computed for all chunks at once. The loop over
chunks then only updates the state: two small matrix products each.

After a reset of the state (g of -1e4, or -inf) c is so large that c_i - c_j would be a difference of rounding errors.
So c is kept as two sums, of the integer and of the fractional parts of g. The first is exact, the second is small.

Chunks are laid out as [M, C, ...] with M = N * B * H, chunk by chunk: every product is one batched call on contiguous
memory, and so is every step of the loop. q and k have M = N * B * G.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nas.kernels.arguments import bounded_chunk_size, compute_dtype, num_chunks, without_autocast

VANISHED = {torch.float32: -104.0, torch.float64: -746.0}
"""The largest integer g for which exp(g) is 0 in a dtype."""


@without_autocast
def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    initial_state: Tensor | None,
    full_route_grad: bool,
) -> tuple[Tensor, Tensor]:
    """Return o [B, T, H, V] and the final state of `nas.kernels.gated_delta_rule` for valid arguments."""
    dtype, output_dtype = compute_dtype(q.dtype), v.dtype
    batch, length, heads, value_dim = v.shape
    group = heads // q.shape[2]
    chunk_size = bounded_chunk_size(chunk_size, length)
    q, k, v, g, beta = (_to_chunks(x.to(dtype), chunk_size) for x in (q, k, v, g[..., None], beta[..., None]))
    q = q * scale

    whole, rest = _running_sums(g)  # c = whole + rest, [M, C, 1]
    causal = torch.ones(chunk_size, chunk_size, dtype=torch.bool, device=q.device).tril()
    between = (rest - rest.mT).add_(whole - whole.mT)  # [M, C, C]
    decay = between.masked_fill_(~causal, -torch.inf).exp_()
    from_start = (whole + rest).exp()
    beta_k = _of_each_head(beta, k, group)
    kk = torch.bmm(beta_k.reshape(k.shape[0], -1, k.shape[-1]), k.mT).view_as(decay)
    u, w = _SolveUnitLower.apply(kk * decay, beta * v, from_start * beta_k)

    to_end = ((whole[:, -1:] - whole) + (rest[:, -1:] - rest)).exp()
    kept = from_start[:, -1:]  # G_n
    if route is not None:
        to_end = to_end * _route_of_chunks(route.to(dtype), heads, full_route_grad)
    state = q.new_zeros(batch, heads, q.shape[-1], value_dim) if initial_state is None else initial_state.to(dtype)
    attention = _of_each_head(decay, torch.bmm(q, k.mT), group)
    q, k = _of_each_head(from_start, q, group), _of_each_head(to_end, k, group)
    o, final = _ChunkLoop.apply(q, attention, u, w, k, kept, state.flatten(0, 1))
    return _from_chunks(o, batch, heads, length).to(output_dtype), final.unflatten(0, (batch, heads))


def gated_delta_rule_of_documents(
    borders: list[int],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    initial_state: Tensor | None,
    full_route_grad: bool,
) -> tuple[Tensor, Tensor]:
    """Return o and the final states [documents, H, K, V] of packed documents, computed one after the other."""
    lengths = [end - start for start, end in pairwise(borders)]
    if initial_state is None:
        initial_state = q.new_zeros(len(lengths), v.shape[2], q.shape[-1], v.shape[-1])
    starts = initial_state.to(compute_dtype(q.dtype)).split(1)
    tokens = zip(*(x.split(lengths, dim=1) for x in (q, k, v, g, beta)), strict=True)
    chunks = [num_chunks(length, chunk_size) for length in lengths]
    routes = [None] * len(lengths) if route is None else route.split(chunks, dim=1)
    outputs, states = [], []
    for document, state, seen in zip(tokens, starts, routes, strict=True):
        q, k, v, g, beta = document
        if v.shape[1] > 0:
            o, state = gated_delta_rule(q, k, v, g, beta, seen, chunk_size, scale, state, full_route_grad)
            outputs.append(o)
        states.append(state)
    return torch.cat(outputs, dim=1), torch.cat(states)


def _running_sums(g: Tensor) -> tuple[Tensor, Tensor]:
    """Return the running sums of the integer and of the fractional parts of g [M, C, 1]; the first has no gradient.

    A decay that underflows to 0 counts as the largest g that does, and has gradient 0.
    """
    g = g.clamp(min=VANISHED[g.dtype])
    whole = g.detach().ceil()
    return whole.cumsum(1), (g - whole).cumsum(1)


def _to_chunks(x: Tensor, chunk_size: int) -> Tensor:
    """Reshape [B, T, H, D] to [M, C, D]; zeros pad the last chunk (no write, no decay)."""
    missing = num_chunks(x.shape[1], chunk_size) * chunk_size - x.shape[1]
    x = F.pad(x, (0, 0, 0, 0, 0, missing)) if missing else x
    return x.unflatten(1, (-1, chunk_size)).permute(1, 0, 3, 2, 4).flatten(0, 2)


def _from_chunks(x: Tensor, batch: int, heads: int, length: int) -> Tensor:
    """Reshape [M, C, D] to [B, T, H, D], without the padding of the last chunk."""
    return x.unflatten(0, (-1, batch, heads)).permute(1, 0, 3, 2, 4).flatten(1, 2)[:, :length]


def _of_each_head(factor: Tensor, x: Tensor, group: int) -> Tensor:
    """Multiply ``factor`` [M, C, ...] of each head of v by x [M / group, C, ...] of its head of q and k."""
    return (factor.unflatten(0, (-1, group)) * x.unsqueeze(1)).flatten(0, 1)


def _route_of_chunks(route: Tensor, heads: int, full_route_grad: bool) -> Tensor:
    """Reshape the route from [B, N, R] to [M, 1, 1]; without ``full_route_grad`` zeros get no gradient."""
    if not full_route_grad:
        route = torch.where(route == 0, route.detach(), route)
    return route.transpose(0, 1).repeat_interleave(heads // route.shape[2], dim=2).reshape(-1, 1, 1)


class _SolveUnitLower(torch.autograd.Function):
    """X = (I + L)^-1 A for two A, with L the part of ``lower`` [M, C, C] below its diagonal.

    Inverting once is faster than solving for wide right sides, and the backward pass is then plain products.
    """

    @staticmethod
    def forward(ctx: Any, lower: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        inverse = _invert_unit_lower(lower)
        u, w = torch.bmm(inverse, a), torch.bmm(inverse, b)
        ctx.save_for_backward(inverse, u, w)
        return u, w

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, du: Tensor, dw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inverse, u, w = ctx.saved_tensors
        da, db = torch.bmm(inverse.mT, du), torch.bmm(inverse.mT, dw)
        dlower = torch.bmm(da, u.mT).baddbmm_(db, w.mT).tril_(-1).neg_()
        return dlower, da, db


def _invert_unit_lower(lower: Tensor) -> Tensor:
    """Compute (I + L)^-1 by halves, [[A, 0], [B, D]]^-1 = [[A^-1, 0], [-D^-1 B A^-1, D^-1]], while that is faster."""
    size = lower.shape[-1]
    if size <= 32 or size % 2:
        identity = torch.eye(size, dtype=lower.dtype, device=lower.device).expand_as(lower)
        return torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True)
    half = size // 2
    a, d = _invert_unit_lower(torch.cat([lower[:, :half, :half], lower[:, half:, half:]])).chunk(2)
    b = torch.bmm(d, torch.bmm(lower[:, half:, :half], a)).neg_()
    return torch.cat([F.pad(a, (0, half)), torch.cat([b, d], dim=-1)], dim=-2)


class _ChunkLoop(torch.autograd.Function):
    """The loop over chunks, as one autograd function: autograd would add overhead to every step.

    With S_n the state at a chunk's start, the loop computes the written vectors, the outputs and the next state::

        X_n = u_n - w_n S_n;   o_n = q_n S_n + attention_n X_n;   S_{n+1} = kept_n S_n + k_n^T X_n

    q, w, k [M, C, K], attention [M, C, C], u [M, C, V], kept [M, 1, 1], the first state [B * H, K, V]. Returns o
    [M, C, V] and the last state.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, attention: Tensor, u: Tensor, w: Tensor, k: Tensor, kept: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        chunks = u.shape[0] // state.shape[0]
        written = u.clone()
        states = state.new_empty(chunks + 1, *state.shape)
        states[0] = state
        steps = zip(*(x.chunk(chunks) for x in (written, w, k, kept)), states[:-1], states[1:], strict=True)
        for x, w_n, k_n, kept_n, start, end in steps:
            x.baddbmm_(w_n, start, alpha=-1)
            torch.mul(start, kept_n, out=end).baddbmm_(k_n.mT, x)
        starts = states[:-1].flatten(0, 1)
        ctx.save_for_backward(q, attention, w, k, kept, starts, written)
        return torch.bmm(q, starts).baddbmm_(attention, written), states[-1].clone()

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, do: Tensor, dfinal: Tensor) -> tuple[Tensor, ...]:
        q, attention, w, k, kept, starts, written = ctx.saved_tensors
        chunks = w.shape[0] // dfinal.shape[0]
        do = do.contiguous()  # its memory is [B, T, H, V]: each product would copy it again
        dwritten = torch.bmm(attention.mT, do)
        dstates = dfinal.new_empty(chunks + 1, *dfinal.shape)
        torch.bmm(q.mT, do, out=dstates[:-1].flatten(0, 1))
        dstates[-1] = dfinal
        steps = list(zip(*(x.chunk(chunks) for x in (dwritten, w, k, kept)), dstates[:-1], dstates[1:], strict=True))
        for dx, w_n, k_n, kept_n, dstart, dend in reversed(steps):
            dx.baddbmm_(k_n, dend)
            dstart.addcmul_(dend, kept_n).baddbmm_(w_n.mT, dx, alpha=-1)
        dends = dstates[1:].flatten(0, 1)
        dq, dattention = torch.bmm(do, starts.mT), torch.bmm(do, written.mT)
        dw, dk = torch.bmm(dwritten, starts.mT).neg_(), torch.bmm(written, dends.mT)
        dkept = torch.einsum("mkv,mkv->m", dends, starts).view_as(kept)
        return dq, dattention, dwritten, dw, dk, dkept, dstates[0]
