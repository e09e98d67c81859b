"""Helpers of the gated delta rule's kernels: loading and storing tiles, and decays.

A sequence is cut into tiles of BT tokens; a chunk (the grain of routing) is one or more whole tiles. Tiles of one head
are numbered 0 .. NT - 1, heads of the batch bh = b * H + h. Buffers between kernels are laid out tile by tile,
[B * H, NT, ...], padded to whole tiles, so that they are read without masks.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl


@triton.jit
def load_rows(pointer, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Load [ROWS, COLUMNS] of a matrix [length, DIM] from row ``start`` and column ``column`` on; zeros outside."""
    rows = start + tl.arange(0, ROWS)
    columns = column + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < length) & (columns[None, :] < DIM)
    return tl.load(pointer + rows[:, None].to(tl.int64) * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def store_rows(
    pointer, tile, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Store a tile where `load_rows` loads it."""
    rows = start + tl.arange(0, ROWS)
    columns = column + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < length) & (columns[None, :] < DIM)
    tl.store(pointer + rows[:, None].to(tl.int64) * stride + columns[None, :], tile, mask=inside)


@triton.jit
def sum_rows(
    pointer, tile, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    ADD: tl.constexpr,
):  # fmt: skip
    """Store a tile like `store_rows`, in any dtype; with ADD add it to the contents."""
    if ADD:
        there = load_rows(pointer, start, length, stride, column, DIM, ROWS, COLUMNS)
        tile = tile.to(tl.float32) + there.to(tl.float32)
    store_rows(pointer, tile.to(pointer.dtype.element_ty), start, length, stride, column, DIM, ROWS, COLUMNS)


@triton.jit
def load_tile(pointer, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Load a contiguous [ROWS, COLUMNS] tile."""
    return tl.load(pointer + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :])


@triton.jit
def store_tile(pointer, tile, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Store a tile where `load_tile` loads it."""
    tl.store(pointer + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :], tile)


@triton.jit
def load_gates(pointer, bh, start, T, H, BT: tl.constexpr):
    """Load [BT] float32 of a head's column in [B, T, H] from token ``start`` on; zeros past the end."""
    rows = start + tl.arange(0, BT)
    return tl.load(pointer + ((bh // H) * T + rows) * H + bh % H, mask=rows < T, other=0.0).to(tl.float32)


@triton.jit
def decays(c, BT: tl.constexpr):
    """Compute [BT, BT] of exp(c_i - c_j) for j <= i, 0 above, from the running sums c of a tile's log-decays."""
    i = tl.arange(0, BT)
    return tl.exp(tl.where(i[:, None] >= i[None, :], c[:, None] - c[None, :], float("-inf")))
