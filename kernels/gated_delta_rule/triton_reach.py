"""How far a state reaches into a segment: after enough decay, neither it nor the first tiles' writes are left.

Tile n multiplies the state by matrices whose product is at most exp(b_n) in norm, where b_n sums, over its tokens,
g + log max(1, |1 - beta |k|^2|); with unit keys and beta up to 2 the logarithm is 0. Where the sum of b_n over the last
tiles of a segment is below NEGLIGIBLE, what was there before does not show in the segment's end, and `summarise` begins
after it. Where it is over the first tiles, gradients from later tiles do not show at the segment's start.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.gated_delta_rule.triton_tiles import load_last_sums, load_rows, place_segment

NEGLIGIBLE = tl.constexpr(-32.0)
"""Logarithm of a factor, 1e-14, that leaves nothing of a float32."""
MOST_TILES = tl.constexpr(16)
"""Tiles to look at from either end of a segment; beyond, looking costs more than it may save."""


@triton.jit
def _log_bound(k, gates_in, tile, start, end, k_t, K: tl.constexpr, BK: tl.constexpr, BT: tl.constexpr):
    """Compute b_n of a tile from its keys and gates."""
    rows = load_rows(k, start, end, k_t, 0, K, BT, BK).to(tl.float32)
    strength = tl.load(gates_in + (tile * 3 + 2) * BT + tl.arange(0, BT))
    factor = tl.maximum(tl.abs(1.0 - strength * tl.sum(rows * rows, 1)), 1.0)
    whole, rest = load_last_sums(gates_in, tile, BT)
    return whole + rest + tl.sum(tl.log(factor), 0)


@triton.jit
def reach(
    k, table, gates_in, result, T, H, NT, SEGMENTS, SEGMENT_TILES, k_b, k_t, k_h,
    K: tl.constexpr, BK: tl.constexpr, BT: tl.constexpr, SUB: tl.constexpr, GROUP: tl.constexpr, PACKED: tl.constexpr,
):  # fmt: skip
    """Compute for one segment of one head, from its end (second axis 0) or its start (1): result [B * H, SEGMENTS, 4].

    These int32 are the first tile that shows in the segment's end, the tile after the last whose gradient shows at its
    start, and whether nothing passes through the segment, as seen from the end and from the start. Both tiles are
    borders of chunks.
    """
    segment = tl.program_id(0) % SEGMENTS
    bh = (tl.program_id(0) // SEGMENTS).to(tl.int64)
    from_end = tl.program_id(1) == 0
    k += bh // H * k_b + bh % H // GROUP * k_h
    first, last, origin, token, _, end, _ = place_segment(table, segment, T, NT, SEGMENT_TILES, PACKED)
    count, kept = 0, 0.0
    while (count < tl.minimum(last - first, MOST_TILES)) & (kept > NEGLIGIBLE):
        n = tl.where(from_end, last - 1 - count, first + count)
        kept += _log_bound(k, gates_in, bh * NT + n, token + (n - origin) * BT, end, k_t, K, BK, BT)
        count += 1
    severed = kept <= NEGLIGIBLE
    begin = tl.where(severed, origin + (last - count - origin) // SUB * SUB, first)
    chunks_end = origin + (first + count - origin + SUB - 1) // SUB * SUB
    stop = tl.where(severed, tl.minimum(chunks_end, last), last)
    result += (bh * SEGMENTS + segment) * 4 + tl.program_id(1)
    tl.store(result, tl.where(from_end, begin, stop))
    tl.store(result + 2, severed.to(tl.int32))


@triton.jit
def nothing_passes(result, segment):
    """Return whether nothing passes through a segment."""
    return (tl.load(result + segment * 4 + 2) != 0) | (tl.load(result + segment * 4 + 3) != 0)
