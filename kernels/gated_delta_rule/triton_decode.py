"""One token of the gated delta rule: a kernel that reads the running state once and writes it once."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.triton_support import on_device

STATE_TILE = 4096
"""Elements of the state that one program holds: 32 float32 registers a thread in 4 warps."""
MIN_COLUMNS = 16
"""Fewest columns of a program: rows of 64 bytes, which are whole sectors of memory."""


def step(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, current: Tensor, log_decay: Tensor, scale: float
) -> Tensor:
    """Compute a step of `nas.kernels.gated_delta_rule.decode`: update current and log_decay, return o [B, H, V]."""
    batch, heads, value_dim = v.shape
    key_dim = q.shape[-1]
    q, k, v, g, beta = (x.contiguous() for x in (q, k, v, g, beta))
    o = torch.empty_like(v)
    rows = triton.next_power_of_2(key_dim)
    columns = min(max(STATE_TILE // rows, MIN_COLUMNS), max(triton.next_power_of_2(value_dim), MIN_COLUMNS))
    blocks = triton.cdiv(value_dim, columns)
    with on_device(q):
        _step[(batch * heads * blocks,)](
            *(q, k, v, g, beta, current, log_decay, o, scale),
            K=key_dim,
            V=value_dim,
            GROUP=heads // q.shape[1],
            BK=rows,
            BV=columns,
            num_warps=4,
        )
    return o


@triton.jit
def _step(
    q, k, v, g, beta, current, log_decay, o, scale,
    K: tl.constexpr, V: tl.constexpr, GROUP: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Update BV columns of one head's state, and compute the same columns of its output."""
    BLOCKS: tl.constexpr = (V + BV - 1) // BV
    block = tl.program_id(0) % BLOCKS
    bh = (tl.program_id(0) // BLOCKS).to(tl.int64)
    rows, columns = tl.arange(0, BK), block * BV + tl.arange(0, BV)
    row_inside, column_inside = rows < K, columns < V
    places = current + bh * K * V + rows[:, None] * V + columns[None, :]
    inside = row_inside[:, None] & column_inside[None, :]
    state = tl.load(places, mask=inside, other=0.0)
    q_row = tl.load(q + bh // GROUP * K + rows, mask=row_inside, other=0.0).to(tl.float32)
    k_row = tl.load(k + bh // GROUP * K + rows, mask=row_inside, other=0.0).to(tl.float32)
    v_row = tl.load(v + bh * V + columns, mask=column_inside, other=0.0).to(tl.float32)
    log_step = tl.load(g + bh).to(tl.float32)
    strength = tl.load(beta + bh).to(tl.float32)

    state = state * tl.exp(log_step)
    missing = v_row - tl.sum(k_row[:, None] * state, 0)
    state += k_row[:, None] * (strength * missing)[None, :]
    tl.store(places, state, mask=inside)
    out = scale * tl.sum(q_row[:, None] * state, 0)
    tl.store(o + bh * V + columns, out.to(o.dtype.element_ty), mask=column_inside)
    if block == 0:  # only this program of a head reads or writes its decay
        tl.store(log_decay + bh, tl.load(log_decay + bh) + log_step)
