"""One query of routed softmax attention: each head's list of kept tokens is read in splits, which are then merged.

A program processes one split of one head's own list, so a head's cost follows the number of its kept tokens. Tokens
are found through the page table one by one, so a tile of tokens may span pages.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.triton_support import on_device

TILE = 8192
"""Elements of keys or values that a program loads at once: 64 a thread in 4 warps."""
LEAST_TOKENS = 256
"""Fewest tokens for which another split of a list is worthwhile."""
MOST_SPLITS = 128
"""Splits of a long list: enough for one list alone to occupy a large GPU."""
MOST_PROGRAMS = 1 << 15
"""Programs of a launch beyond which splits are coarser, down to `MIN_SPLITS`: programs without work still cost time."""
MIN_SPLITS = 8
LOG2_E = 1.4426950408889634


def step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: Tensor,
    values: Tensor,
    table: Tensor,
    weight: Tensor,
    kept: Tensor,
    open_page: Tensor,
    fill: Tensor,
    scale: float,
) -> Tensor:
    """Compute a step of `nas.kernels.chunk_softmax_attention.decode`: update the pools and fill, return o [B, H, V]."""
    cached_heads, (group, chunk_size) = v.shape[1], keys.shape[1:3]
    q, k, v = (x.contiguous() for x in (q, k, v))
    parts = split_lists(q, v, (table.shape[-1] + 1) * chunk_size)
    with on_device(q):
        _attend[(parts.lse.numel(),)](
            *(q, k, v, keys, values, table, weight, kept, open_page, fill, parts.outputs, parts.lse),
            *(scale * LOG2_E, q.shape[1], group, table.shape[-1], parts.splits),
            CHUNK=chunk_size,
            SHARE=q.shape[1] // cached_heads,
            LEAST=parts.least,
            **parts.blocks,
            num_warps=4,
        )
    return merge(parts, fill, chunk_size + 1, v)


class Parts(NamedTuple):
    """The splits of every list, which programs fill and `merge` reads."""

    outputs: Tensor
    """[B, H, splits, V] float32: output of each split alone."""
    lse: Tensor
    """[B, H, splits] float32: log-sum-exp of its scores, to base 2; -inf if it has no tokens."""
    blocks: dict[str, int]
    """Sizes of the kernel: K, V, and the powers of 2 that hold them, BK and BV, and the tokens of a tile, BT."""

    @property
    def splits(self) -> int:
        return self.lse.shape[-1]

    @property
    def least(self) -> int:
        """Fewest tiles of a split."""
        return max(1, LEAST_TOKENS // self.blocks["BT"])


def split_lists(q: Tensor, v: Tensor, longest: int) -> Parts:
    """Return the splits for q [B, H, K] and v [B, G, V], with lists of at most ``longest`` tokens."""
    batch, heads, key_dim = q.shape
    value_dim, splits = v.shape[-1], num_splits(batch * heads, longest)
    key_block, value_block = triton.next_power_of_2(key_dim), triton.next_power_of_2(value_dim)
    tile = min(64, TILE // max(key_block, value_block))
    return Parts(
        torch.empty(batch, heads, splits, value_dim, dtype=torch.float32, device=q.device),
        torch.empty(batch, heads, splits, dtype=torch.float32, device=q.device),
        {"K": key_dim, "V": value_dim, "BK": key_block, "BV": value_block, "BT": tile},
    )


def merge(parts: Parts, count: Tensor, most: int, v: Tensor) -> Tensor:
    """Merge the splits to o [B, H, V] in the dtype of v, and add the new token to the count of each sequence.

    Args:
        count: [B] tokens of each sequence, updated in place.
        most: the largest count.
    """
    batch, heads, splits, value_dim = parts.outputs.shape
    o = v.new_empty(batch, heads, value_dim)
    columns = min(parts.blocks["BV"], max(16, TILE // splits))
    with on_device(v):
        _merge[(batch * heads, triton.cdiv(value_dim, columns))](
            *(parts.outputs, parts.lse, count, o, heads), SPLITS=splits, MOST=most, V=value_dim, BV=columns, num_warps=4
        )
    return o


def num_splits(lists: int, longest: int) -> int:
    """Return the splits of every list, a power of 2: from the longest possible list, not from the current one."""
    splits = min(MOST_SPLITS, triton.next_power_of_2(triton.cdiv(longest, LEAST_TOKENS)))
    while splits > MIN_SPLITS and splits * lists > MOST_PROGRAMS:
        splits //= 2
    return splits


@triton.jit(do_not_specialize=["TABLE", "SPLITS"])  # these sizes change when lists grow
def _attend(
    q, k, v, keys, values, table, weight, kept, open_page, fill, partial, lse,
    scale, H, G, TABLE, SPLITS,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
    CHUNK: tl.constexpr, BT: tl.constexpr, SHARE: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """Process one split of one head's list; the first split starts with the new token and writes it to the open page.

    ``scale`` includes log2(e): scores, and the log-sum-exp stored beside the output, are to base 2. SHARE heads of q
    read one head of k and v; the first of them writes the new token.
    """
    split = tl.program_id(0) % SPLITS
    bh = (tl.program_id(0) // SPLITS).to(tl.int64)
    b, h = bh // H, bh // SHARE  # h: the head of k and v, counted over all sequences
    br = h // G
    filled = tl.load(fill + b)
    in_table = tl.load(kept + br)
    listed = in_table * CHUNK + tl.minimum(filled, CHUNK)  # tokens before the new one
    first, last = tiles_of_split(split, SPLITS, listed, BT, LEAST)
    out = bh * SPLITS + split
    if (split > 0) & (first >= last):
        tl.store(lse + out, float("-inf"))
        return

    running = tl.load(open_page + br)
    new_row = (running.to(tl.int64) * G + h % G) * CHUNK + filled
    starts = split == 0
    writes = starts & (filled < CHUNK) & (bh % SHARE == 0)
    q_row, top, total, acc = begin(q, k, v, keys, values, bh, h, new_row, starts, writes, scale, K, V, BK, BV)
    acc = tl.where(starts & (filled >= CHUNK), float("nan"), acc)  # no room for the token
    key_dims, value_dims = tl.arange(0, BK), tl.arange(0, BV)
    key_inside, value_inside = key_dims < K, value_dims < V
    for tile in range(first, last):
        token = tile * BT + tl.arange(0, BT)
        entry = token // CHUNK
        kept_earlier, inside = entry < in_table, token < listed
        page = tl.load(table + br * TABLE + entry, mask=kept_earlier, other=0)
        page = tl.where(kept_earlier, page, running)
        route = tl.load(weight + br * TABLE + entry, mask=kept_earlier, other=1.0)
        row = (page.to(tl.int64) * G + h % G) * CHUNK + token % CHUNK
        k_tile = tl.load(
            keys + row[:, None] * K + key_dims[None, :], mask=inside[:, None] & key_inside[None, :], other=0.0
        )
        v_tile = tl.load(
            values + row[:, None] * V + value_dims[None, :], mask=inside[:, None] & value_inside[None, :], other=0.0
        )
        s = tl.sum(k_tile.to(tl.float32) * q_row[None, :], 1) + tl.log2(route)
        top, total, acc = absorb(tl.where(inside, s, float("-inf")), v_tile, top, total, acc)
    tl.store(lse + out, top + tl.log2(total))
    tl.store(partial + out * V + value_dims, acc / total, mask=value_inside)


@triton.jit
def tiles_of_split(split, SPLITS, tokens, BT: tl.constexpr, LEAST: tl.constexpr):
    """Return the first tile of a split of so many tokens, and the tile after its last one."""
    tiles = (tokens + BT - 1) // BT
    share = tl.maximum((tiles + SPLITS - 1) // SPLITS, LEAST)
    return split * share, tl.minimum(split * share + share, tiles)


@triton.jit
def begin(
    q, k, v, keys, values, bh, h, row, starts, writes, scale,
    K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Return the scaled row bh of q, and the running softmax that `absorb` adds to: with the new token if it starts.

    If ``writes``, row h of k and v is written to a row of the cache.
    """
    key_dims, value_dims = tl.arange(0, BK), tl.arange(0, BV)
    key_inside, value_inside = key_dims < K, value_dims < V
    q_row = tl.load(q + bh * K + key_dims, mask=key_inside, other=0.0).to(tl.float32) * scale
    k_row = tl.load(k + h * K + key_dims, mask=key_inside, other=0.0).to(keys.dtype.element_ty)
    v_row = tl.load(v + h * V + value_dims, mask=value_inside, other=0.0).to(values.dtype.element_ty)
    written = tl.where(writes, 1, 0)
    tl.store(keys + row * K + key_dims, k_row, mask=key_dims < written * K)
    tl.store(values + row * V + value_dims, v_row, mask=value_dims < written * V)
    top = tl.where(starts, tl.sum(q_row * k_row.to(tl.float32), 0), float("-inf"))
    return q_row, top, tl.where(starts, 1.0, 0.0), tl.where(starts, v_row.to(tl.float32), 0.0)


@triton.jit
def absorb(s, v_tile, top, total, acc):
    """Add a tile with scores s [BT] to base 2 and values [BT, BV] to a running softmax: its top, total and sum.

    A tile without any token has scores of -inf alone.
    """
    higher = tl.maximum(top, tl.max(s, 0))
    shift = tl.where(higher > float("-inf"), higher, 0.0)
    p = tl.exp2(s - shift)
    rescale = tl.exp2(top - shift)
    return higher, total * rescale + tl.sum(p, 0), acc * rescale + tl.sum(p[:, None] * v_tile.to(tl.float32), 0)


@triton.jit
def _merge(
    partial, lse, count, o, H,
    SPLITS: tl.constexpr, MOST: tl.constexpr, V: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Merge the splits for BV columns of one head's output; one program of a sequence counts the new token."""
    bh = tl.program_id(0).to(tl.int64)
    split, columns = tl.arange(0, SPLITS), tl.program_id(1) * BV + tl.arange(0, BV)
    log_total = tl.load(lse + bh * SPLITS + split)
    share = tl.exp2(log_total - tl.max(log_total, 0))
    inside = (log_total > float("-inf"))[:, None] & (columns < V)[None, :]
    parts = tl.load(partial + (bh * SPLITS + split)[:, None] * V + columns[None, :], mask=inside, other=0.0)
    out = tl.sum(share[:, None] * parts, 0) / tl.sum(share, 0)
    tl.store(o + bh * V + columns, out.to(o.dtype.element_ty), mask=columns < V)
    if (bh % H == 0) & (tl.program_id(1) == 0):
        tl.store(count + bh // H, tl.minimum(tl.load(count + bh // H) + 1, MOST))
