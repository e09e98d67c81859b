"""Helpers of the gated delta rule's kernels: loading and storing tiles, and decays.

A sequence is cut into tiles of BT tokens; a chunk (the grain of routing) is one or more whole tiles. Tiles of one head
are numbered 0 .. NT - 1, heads of the batch bh = b * H + h. Buffers between kernels are laid out tile by tile,
[B * H, NT, ...], padded to whole tiles, so that they are read without masks.

The gates of a tile are kept as [3, BT]: the running sum c of g as two sums, of the integer and of the fractional
parts of g, and beta. After a reset of the state (g of -1e4, or -inf) one sum would be so large that a difference of two
is rounding errors. The first sum is exact and the second is small. c_i - c_j is the sum of both differences.

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
def _place_block(pointer, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return pointers to a block of a matrix, and which of them lie inside: [ROWS, COLUMNS], or [ROWS, 1] if narrower.

    Offsets inside of a block have 32 bits, which takes half the registers.
    """
    rows = tl.arange(0, ROWS)[:, None]
    columns = tl.arange(0, COLUMNS)[None, :]
    inside = rows < length - start
    if DIM < COLUMNS or DIM & (DIM - 1) != 0:  # else there are whole blocks only
        inside = inside & (columns < DIM - column)
    pointer += tl.cast(start, tl.int64) * stride + column
    return pointer + (rows * stride + columns), inside


@triton.jit
def load_rows(pointer, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Load [ROWS, COLUMNS] of a matrix [length, DIM] from row ``start`` and column ``column`` on; zeros outside."""
    pointers, inside = _place_block(pointer, start, length, stride, column, DIM, ROWS, COLUMNS)
    return tl.load(pointers, mask=inside, other=0.0)


@triton.jit
def matrix(pointer, length, stride, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TMA: tl.constexpr):
    """Return a source for `load_block`: a descriptor of [length, DIM] with TMA, else the pointer."""
    return tl.make_tensor_descriptor(pointer, [length, DIM], [stride, 1], [ROWS, COLUMNS]) if TMA else pointer


@triton.jit
def load_block(
    source, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    TMA: tl.constexpr,
):  # fmt: skip
    """Load what `load_rows` loads, from a `matrix` of the same length and stride."""
    return source.load([start, column]) if TMA else load_rows(source, start, length, stride, column, DIM, ROWS, COLUMNS)


@triton.jit
def store_rows(
    pointer, tile, start, length, stride, column, DIM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Store a tile where `load_rows` loads it."""
    pointers, inside = _place_block(pointer, start, length, stride, column, DIM, ROWS, COLUMNS)
    tl.store(pointers, tile, mask=inside)


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
def gates_of_tiles(pointer, NT, BT: tl.constexpr, TMA: tl.constexpr):
    """Return a source for `load_gates_of_tile` of a head's tiles: a descriptor with TMA, else the pointer."""
    return tl.make_tensor_descriptor(pointer, [NT * 3 * BT], [1], [BT]) if TMA else pointer


@triton.jit
def load_gates_of_tile(source, tile, BT: tl.constexpr, TMA: tl.constexpr):
    """Load the two running sums of a tile and its beta, [BT] each."""
    at = tile * 3 * BT
    return (
        _load_vector(source, at, BT, TMA),
        _load_vector(source, at + BT, BT, TMA),
        _load_vector(source, at + 2 * BT, BT, TMA),
    )


@triton.jit
def _load_vector(source, start, SIZE: tl.constexpr, TMA: tl.constexpr):
    return source.load([start]) if TMA else tl.load(source + start + tl.arange(0, SIZE))


@triton.jit
def load_last_sums(pointer, tile, BT: tl.constexpr):
    """Load the two running sums at the end of a tile (or of several)."""
    end = pointer + tile * 3 * BT + BT - 1
    return tl.load(end), tl.load(end + BT)


@triton.jit
def decays_to_end(pointer, tile, whole, rest, BT: tl.constexpr):
    """Compute from a tile's sums its decays from each token to the tile's end [BT], and over the whole tile."""
    whole_last, rest_last = load_last_sums(pointer, tile, BT)
    return tl.exp((whole_last - whole) + (rest_last - rest)), tl.exp(whole_last + rest_last)


@triton.jit
def decays(whole, rest, start, BT: tl.constexpr):
    """Compute [BT, BT] of exp(c_i - c_j) for j <= i, 0 above, from the running sums of a tile."""
    i = start + tl.arange(0, BT)
    between = (whole[:, None] - whole[None, :]) + (rest[:, None] - rest[None, :])
    return tl.exp(tl.where(i[:, None] >= i[None, :], between, float("-inf")))


@triton.jit
def decays_transposed(whole, rest, start, BT: tl.constexpr):
    """Compute the transpose of `decays`."""
    i = start + tl.arange(0, BT)
    between = (whole[None, :] - whole[:, None]) + (rest[None, :] - rest[:, None])
    return tl.exp(tl.where(i[:, None] <= i[None, :], between, float("-inf")))
