"""How far a state reaches into a segment: after enough decay, neither it nor the first tiles' writes are left.

Tile n multiplies the state by matrices whose product is at most exp(b_n) in norm, where b_n sums, over its tokens,
g + log max(1, |1 - beta |k|^2|); with unit keys and beta up to 2 the logarithm is 0. `invert` computes all b_n. Where
the sum of b_n over the last tiles of a segment is below NEGLIGIBLE, what was there before does not show in the
segment's end, and `summarise` begins after it. Where it is over the first tiles, gradients from later tiles do not show
at the segment's start, and `scan_back` begins before them.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

NEGLIGIBLE = tl.constexpr(-32.0)
"""Logarithm of a factor, 1e-14, that leaves nothing of a float32."""
MOST_TILES = tl.constexpr(16)
"""Tiles to look at from either end of a segment."""


@triton.jit
def _tiles_that_show(bounds, first, direction, tiles):
    """Return how many tiles show at an end of a segment, from its tile ``first`` on; more than MOST_TILES if all do."""
    i = tl.arange(0, MOST_TILES)
    left = tl.cumsum(tl.load(bounds + first + direction * i, mask=i < tiles, other=0.0), 0)
    return tl.min(tl.where((left <= NEGLIGIBLE) & (i < tiles), i + 1, MOST_TILES + 1), 0)


@triton.jit
def reach_of_segment(bounds, first, last, origin, SUB: tl.constexpr):
    """Return of a segment the first tile that shows in its end, and two numbers that `chain` and `scan_back` need.

    These are the tile after the last whose gradient shows at the segment's start, and whether nothing passes through
    the segment. Both tiles are borders of chunks. ``bounds`` has b_n of the tiles, see the module.
    """
    from_end = _tiles_that_show(bounds, last - 1, -1, last - first)
    from_start = _tiles_that_show(bounds, first, 1, last - first)
    begin = tl.where(from_end > MOST_TILES, first, origin + (last - from_end - origin) // SUB * SUB)
    chunks_end = origin + (first + from_start - origin + SUB - 1) // SUB * SUB
    stop = tl.where(from_start > MOST_TILES, last, tl.minimum(chunks_end, last))
    return begin, stop, tl.minimum(from_end, from_start) <= MOST_TILES


@triton.jit
def nothing_passes(reach, segment):
    """Return whether nothing passes through a segment."""
    return tl.load(reach + segment * 2 + 1) != 0
