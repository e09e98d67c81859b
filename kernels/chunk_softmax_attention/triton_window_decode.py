"""One query of sliding-window attention: the slots of each head's ring are read in splits, which are then merged."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.chunk_softmax_attention.triton_decode import (
    LOG2_E,
    absorb,
    begin,
    merge,
    split_lists,
    tiles_of_split,
)
from nas.kernels.triton_support import on_device

ENDLESS = 2**62
"""More tokens than any sequence has."""


def step(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, seen: Tensor, scale: float) -> Tensor:
    """Compute a step of `window_decode`: update the rings and seen, return o [B, H, V]."""
    q, k, v = (x.contiguous() for x in (q, k, v))
    parts = split_lists(q, v, keys.shape[2])
    with on_device(q):
        _attend[(parts.lse.numel(),)](
            *(q, k, v, keys, values, seen, parts.outputs, parts.lse, scale * LOG2_E, q.shape[1], parts.splits),
            W=keys.shape[2],
            SHARE=q.shape[1] // v.shape[1],
            LEAST=parts.least,
            **parts.blocks,
            num_warps=4,
        )
    return merge(parts, seen, ENDLESS, v)


@triton.jit
def _attend(
    q, k, v, keys, values, seen, partial, lse, scale, H, SPLITS,
    W: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr, BT: tl.constexpr,
    SHARE: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """Process one split of one head's ring; the first split starts with the new token and writes it to its slot.

    ``scale`` includes log2(e), as in `triton_decode`. SHARE heads of q read one head of k and v; the first of them
    writes the new token, and none reads its slot.
    """
    split = tl.program_id(0) % SPLITS
    bh = (tl.program_id(0) // SPLITS).to(tl.int64)
    h = bh // SHARE  # the head of k and v, counted over all sequences
    before = tl.load(seen + bh // H)
    slot = before % W
    used = tl.minimum(before, W)
    first, last = tiles_of_split(split, SPLITS, used, BT, LEAST)
    out = bh * SPLITS + split
    if (split > 0) & (first >= last):
        tl.store(lse + out, float("-inf"))
        return

    starts = split == 0
    writes = starts & (bh % SHARE == 0)
    q_row, top, total, acc = begin(q, k, v, keys, values, bh, h, h * W + slot, starts, writes, scale, K, V, BK, BV)
    key_dims, value_dims = tl.arange(0, BK), tl.arange(0, BV)
    key_inside, value_inside = key_dims < K, value_dims < V
    for tile in range(first, last):
        token = tile * BT + tl.arange(0, BT)
        inside = (token < used) & (token != slot)
        row = (h * W + token)[:, None]
        k_tile = tl.load(keys + row * K + key_dims[None, :], mask=inside[:, None] & key_inside[None, :], other=0.0)
        v_tile = tl.load(
            values + row * V + value_dims[None, :], mask=inside[:, None] & value_inside[None, :], other=0.0
        )
        s = tl.where(inside, tl.sum(k_tile.to(tl.float32) * q_row[None, :], 1), float("-inf"))
        top, total, acc = absorb(s, v_tile, top, total, acc)
    tl.store(lse + out, top + tl.log2(total))
    tl.store(partial + out * V + value_dims, acc / total, mask=value_inside)
