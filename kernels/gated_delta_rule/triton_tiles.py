"""Helpers of the gated delta rule's kernels: loading and storing tiles, and decays.

A sequence is cut into tiles of BT tokens; a chunk (the grain of routing) is one or more whole tiles. Tiles of one head
are numbered 0 .. NT - 1, heads of the batch bh = b * H + h. Buffers between kernels are laid out tile by tile,
[B * H, NT, ...], padded to whole tiles, so that they are read without masks.

The running sum c of a tile's g is kept as two sums [2, BT], of the integer and of the fractional parts of g. After a
reset of the state (g of -1e4, or -inf) one sum would be so large that a difference of two is rounding errors. The first
sum is exact and the second is small. c_i - c_j is the sum of both differences.

Packed documents (PACKED) are one sequence whose tiles are numbered over all documents. `triton_documents` computes the
tables of their tiles and segments that the functions here read.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

VANISHED = tl.constexpr(-104.0)
"""The largest integer g for which exp(g) is 0 in float32: all smaller ones count as it."""


@triton.jit
def place_tile(tiles, n, T, BT: tl.constexpr, PACKED: tl.constexpr):
    """Return the first token of the n-th tile, and the end of its sequence or document."""
    if PACKED:
        start, end = tl.load(tiles + n * 8), tl.load(tiles + n * 8 + 1)
    else:
        start, end = n * BT, T
    return start, end


@triton.jit
def chunk_of_tile(tiles, n, SUB: tl.constexpr, PACKED: tl.constexpr):
    """Return the chunk that contains the n-th tile."""
    return tl.load(tiles + n * 8 + 2) if PACKED else n // SUB


@triton.jit
def ends_chunk(tiles, n, NT, SUB: tl.constexpr, PACKED: tl.constexpr):
    """Return whether the n-th tile is the last of its chunk."""
    return n == tl.load(tiles + n * 8 + 4) if PACKED else (n % SUB == SUB - 1) | (n == NT - 1)


@triton.jit
def is_last_segment(segments, segment, SEGMENTS, PACKED: tl.constexpr):
    """Return whether a segment is the last of its sequence or document."""
    return tl.load(segments + segment * 8 + 7) != 0 if PACKED else segment == SEGMENTS - 1


@triton.jit
def place_segment(segments, segment, T, NT, SEGMENT_TILES, PACKED: tl.constexpr):
    """Return of a segment: its first tile and the tile after its last, and where tiles and their chunks lie.

    With ``origin``, ``token``, ``chunk``, ``end`` and ``last_tile``, in this order, the n-th tile begins at token
    ``token`` + (n - ``origin``) BT of a sequence or document up to ``end``. It is tile (n - ``origin``) % SUB of chunk
    ``chunk`` + (n - ``origin``) // SUB. The chunk of ``last_tile`` may be short.
    """
    if PACKED:
        row = segments + segment * 8
        first, last = tl.load(row), tl.load(row + 1)
        origin, token, chunk = first, tl.load(row + 2), tl.load(row + 4)
        end, last_tile = tl.load(row + 3), last - 1
    else:
        first = segment * SEGMENT_TILES
        last = tl.minimum(first + SEGMENT_TILES, NT)
        origin, token, chunk = 0, 0, 0
        end, last_tile = T, NT - 1
    return first, last, origin, token, chunk, end, last_tile


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
def split_gate(g):
    """Return the integer and the fractional part of g [BT] in [-inf, 0], with an integer part of at least VANISHED."""
    g = tl.where(g < VANISHED, VANISHED, g)  # keeps NaN, which `tl.maximum` would not
    whole = tl.ceil(g)
    return whole, g - whole


@triton.jit
def load_sums(pointer, tile, BT: tl.constexpr):
    """Load the two running sums of a tile, [BT] each."""
    i = tl.arange(0, BT)
    return tl.load(pointer + tile * 2 * BT + i), tl.load(pointer + (tile * 2 + 1) * BT + i)


@triton.jit
def load_last_sums(pointer, tile, BT: tl.constexpr):
    """Load the two running sums at the end of a tile (or of several)."""
    return tl.load(pointer + tile * 2 * BT + BT - 1), tl.load(pointer + (tile * 2 + 1) * BT + BT - 1)


@triton.jit
def decays_to_end(pointer, tile, BT: tl.constexpr):
    """Load a tile's sums; compute its decays from each token to the tile's end [BT], and over the whole tile."""
    whole, rest = load_sums(pointer, tile, BT)
    whole_last, rest_last = load_last_sums(pointer, tile, BT)
    return tl.exp((whole_last - whole) + (rest_last - rest)), tl.exp(whole_last + rest_last)


@triton.jit
def decays(whole, rest, BT: tl.constexpr):
    """Compute [BT, BT] of exp(c_i - c_j) for j <= i, 0 above, from the running sums of a tile."""
    i = tl.arange(0, BT)
    between = (whole[:, None] - whole[None, :]) + (rest[:, None] - rest[None, :])
    return tl.exp(tl.where(i[:, None] >= i[None, :], between, float("-inf")))
