"""What the kernels of the gated delta rule share: loading tiles, decays, and the inverse of a tile's triangular system.

A sequence is cut into tiles of BT tokens; a chunk (the grain of routing) is one or more whole tiles. Tiles of one head
are numbered 0 .. NT - 1, heads of the batch bh = b * H + h. What kernels hand to each other lies tile by tile, [B * H,
NT, ...], padded to whole tiles, so that it is read without masks.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from kernels.triton_dot import dot


@triton.jit
def load_rows(pointer, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """[ROWS, COLUMNS] of a matrix [length, DIM] from row ``start`` and column ``column`` on; zeros outside of it."""
    rows = start + tl.arange(0, ROWS)
    columns = column + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < length) & (columns[None, :] < DIM)
    return tl.load(pointer + rows[:, None].to(tl.int64) * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def store_rows(
    pointer, tile, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Store what `load_rows` would load."""
    rows = start + tl.arange(0, ROWS)
    columns = column + tl.arange(0, COLUMNS)
    inside = (rows[:, None] < length) & (columns[None, :] < DIM)
    tl.store(pointer + rows[:, None].to(tl.int64) * stride + columns[None, :], tile, mask=inside)


@triton.jit
def load_tile(pointer, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """[ROWS, COLUMNS] that lie contiguously."""
    return tl.load(pointer + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :])


@triton.jit
def store_tile(pointer, tile, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Store what `load_tile` would load."""
    tl.store(pointer + tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :], tile)


@triton.jit
def load_gates(pointer, bh, start, T, H, BT: tl.constexpr):
    """[BT] float32 of a head's column in [B, T, H] from token ``start`` on; zeros past the end."""
    rows = start + tl.arange(0, BT)
    return tl.load(pointer + ((bh // H) * T + rows) * H + bh % H, mask=rows < T, other=0.0).to(tl.float32)


@triton.jit
def decays(c, BT: tl.constexpr):
    """[BT, BT] of exp(c_i - c_j) for j <= i, 0 above, from the running sums c of a tile's log-decays."""
    i = tl.arange(0, BT)
    return tl.exp(tl.where(i[:, None] >= i[None, :], c[:, None] - c[None, :], float("-inf")))


@triton.jit
def _invert_diagonal_blocks(lower, BT: tl.constexpr):
    """Inverses of the 16 x 16 diagonal blocks of I + lower by forward substitution, all blocks at once; [BT, BT]."""
    BLOCKS: tl.constexpr = BT // 16
    row_block = tl.arange(0, BT) // 16
    on_diagonal = row_block[:, None, None] == tl.arange(0, BLOCKS)[None, :, None]
    blocks = tl.sum(tl.where(on_diagonal, tl.reshape(lower, (BT, BLOCKS, 16)), 0.0), 1)
    blocks = tl.reshape(blocks, (BLOCKS, 16, 16))
    i = tl.arange(0, 16)
    inverse = tl.zeros((BLOCKS, 16, 16), tl.float32) + tl.where(i[:, None] == i[None, :], 1.0, 0.0)[None, :, :]
    for row in range(1, 16):
        here = i[None, :, None] == row
        factors = tl.sum(tl.where(here, blocks, 0.0), 1)
        change = tl.sum(factors[:, :, None] * inverse, 1)
        inverse = tl.where(here, inverse - change[:, None, :], inverse)
    spread = tl.where(on_diagonal, tl.reshape(inverse, (BT, 1, 16)), 0.0)
    return tl.reshape(spread, (BT, BT))


@triton.jit
def _join_blocks(lower, inverse, SIZE: tl.constexpr, BT: tl.constexpr, PRECISION: tl.constexpr):
    """Inverses of diagonal blocks of SIZE to those of 2 * SIZE: [[A, 0], [B, D]]^-1 has -D^-1 B A^-1 below."""
    i = tl.arange(0, BT)
    same_pair = (i // (2 * SIZE))[:, None] == (i // (2 * SIZE))[None, :]
    below = tl.where(same_pair & ((i // SIZE)[:, None] > (i // SIZE)[None, :]), lower, 0.0)
    change = dot(inverse, below, None, PRECISION)
    return inverse - dot(change, inverse, None, PRECISION)


@triton.jit
def invert_unit_lower(lower, BT: tl.constexpr, PRECISION: tl.constexpr):
    """(I + lower)^-1 for a strictly lower triangular [BT, BT], BT = 16, 32 or 64."""
    inverse = _invert_diagonal_blocks(lower, BT)
    if BT >= 32:
        inverse = _join_blocks(lower, inverse, 16, BT, PRECISION)
    if BT >= 64:
        inverse = _join_blocks(lower, inverse, 32, BT, PRECISION)
    return inverse
