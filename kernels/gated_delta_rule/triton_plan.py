"""Sizes of the gated delta rule's launches: tiles, segments and blocks of columns, by shapes, dtype and GPU."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nas.kernels.arguments import num_chunks
from nas.kernels.gated_delta_rule.triton_documents import Documents, tabulate
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.triton_support import multiprocessors, narrowest

PROGRAMS_PER_MULTIPROCESSOR = 2
"""Programs of a split scan; a scan is split where whole sequences would leave over half of the multiprocessors idle."""

MIN_SEGMENT_TOKENS = 1024
"""Fewest tokens in a segment: computing a segment's effect on the state takes as long as scanning it."""


@dataclass(frozen=True)
class Blocks:
    """Block sizes: BT tokens a tile, BK >= K; per kernel (rows,) columns of V, warps, stages.

    ``invert`` is columns of K, for one warp. ``gradients`` begins with columns of K.
    ``scan``, also for the scan back, ends with the stages where programs do not share a multiprocessor.
    """

    BT: int
    BK: int
    invert: int
    summarise: tuple[int, int, int]
    chain: tuple[int, int, int]
    scan: tuple[int, int, int, int]
    gradients: tuple[int, int, int, int]


def blocks_of(key_dim: int, value_dim: int, chunk_size: int, dtype: torch.dtype, device: torch.device) -> Blocks:
    """Return block sizes that fit in the shared memory and the registers of a multiprocessor.

    Args:
        key_dim: K, at most 256.
        value_dim: V.
        chunk_size: tokens in a routing chunk; tiles do not cross its borders.
        dtype: dtype of the operands.
        device: the GPU.
    """
    wide = dtype == torch.float32
    padded = max(narrowest(dtype), _power_of_2(key_dim))
    big = padded > 128
    if not has_large_shared_memory(device):
        return _small_blocks(chunk_size, padded, wide)
    if wide:
        columns = 16 if big else 32
        return Blocks(
            BT=min(16 if big else 32, chunk_size), BK=padded, invert=min(padded, 32),
            summarise=(columns, 4, 1), chain=(32, columns, 4), scan=(columns, 4, 1, 1),
            gradients=(min(padded, 64), columns, 4, 1),
        )  # fmt: skip
    tile = min(64, chunk_size)
    return Blocks(
        BT=tile, BK=padded, invert=64, summarise=(64, 8, 1) if big else (64, 4, 2), chain=(128, 64, 8),
        scan=(64, 8, 1, 1) if big else (64, 4, 2, 3), gradients=(min(padded, 128), 64, 4, 3),
    )  # fmt: skip


def _small_blocks(chunk_size: int, padded: int, wide: bool) -> Blocks:
    """Return block sizes that fit in 99 KiB of shared memory, for keys of ``padded`` columns.

    On GPUs before Hopper, and on those for desktops, the operands of a product are in registers: blocks are narrower.
    """
    big = padded > 128
    columns = 16 if wide and big else 32
    scan = (columns, 8, 1, 1) if wide or big else (columns, 4, 2, 2)
    return Blocks(
        BT=min((16 if big else 32) if wide else 64, chunk_size), BK=padded,
        invert=min(padded, 32) if wide else 64, summarise=scan[:3],
        chain=(32, columns, 4) if wide else (64, 64, 8), scan=scan,
        gradients=(min(padded, 64), columns, 8, 1),
    )  # fmt: skip


def _power_of_2(least: int) -> int:
    """Return the smallest power of 2 that is at least ``least``."""
    return 1 << (int(least) - 1).bit_length()


def ceil_div(a: int, b: int) -> int:
    """Return a / b, rounded up."""
    return -(-a // b)


class Sizes(NamedTuple):
    """Sizes of a call that every launch needs."""

    B: int
    T: int
    H: int
    K: int
    V: int
    NT: int
    N: int
    R: int
    SUB: int
    segments: int
    segment_tiles: int
    GROUP: int
    """Heads of v for each head of q and k."""


def split(heads: int, tiles: int, tiles_of_chunk: int, tile_tokens: int, columns: int, device: torch.device) -> int:
    """Return the number of tiles in a segment: all of them if there are enough programs for every multiprocessor.

    Args:
        heads: B * H.
        tiles: tiles in a sequence.
        tiles_of_chunk: tiles in a chunk; a segment holds whole chunks.
        tile_tokens: tokens in a tile.
        columns: programs per head of a scan without segments.
        device: device of the call.
    """
    programs = heads * columns
    if 2 * programs > multiprocessors(device):
        return tiles
    segments = PROGRAMS_PER_MULTIPROCESSOR * multiprocessors(device) // programs  # all run at once
    least = max(1, MIN_SEGMENT_TOKENS // tile_tokens)
    each = max(least, math.ceil(tiles / segments))
    return min(tiles, math.ceil(each / tiles_of_chunk) * tiles_of_chunk)


def plan(
    q: Tensor, v: Tensor, route: Tensor | None, chunk_size: int, documents: Documents | None
) -> tuple[Blocks, Sizes]:
    """Return block sizes and sizes of a call with these arguments; k may stand for q, and o for v."""
    blocks = blocks_of(q.shape[-1], v.shape[-1], chunk_size, q.dtype, q.device)
    batch, length, heads, value_dim = v.shape
    sub = chunk_size // blocks.BT
    if documents is None:
        tiles, chunks = ceil_div(length, blocks.BT), num_chunks(length, chunk_size)
        each = _tiles_of_segment(v, tiles, chunk_size, blocks)
        segments = ceil_div(tiles, each)
    else:
        tiles, chunks, segments, each = documents.tiles, documents.chunks, documents.segments, 0
    routing_heads = heads if route is None else route.shape[-1]
    sizes = Sizes(
        batch, length, heads, q.shape[-1], value_dim, tiles, chunks, routing_heads, sub,
        segments, each, heads // q.shape[2],
    )  # fmt: skip
    return blocks, sizes


def _tiles_of_segment(v: Tensor, tiles: int, chunk_size: int, blocks: Blocks) -> int:
    """Return the number of tiles in a segment of a sequence of ``tiles`` tiles, see `split`."""
    batch, _, heads, value_dim = v.shape
    columns = ceil_div(value_dim, blocks.scan[0])
    return split(batch * heads, tiles, chunk_size // blocks.BT, blocks.BT, columns, v.device)


def documents_of(borders: list[int], q: Tensor, v: Tensor, chunk_size: int) -> Documents:
    """Return the tables of packed documents; a segment has as many tiles as if all tokens were one document."""
    blocks = blocks_of(q.shape[-1], v.shape[-1], chunk_size, q.dtype, q.device)
    each = _tiles_of_segment(v, ceil_div(v.shape[1], blocks.BT), chunk_size, blocks)
    return tabulate(borders, chunk_size, blocks.BT, each, v.device)


def chained_segments(s: Sizes, documents: Documents | None) -> int:
    """Return how many segments are not a whole sequence or document; their states are computed one after the other."""
    if documents is not None:
        return documents.split_segments
    return 0 if s.segments == 1 else s.segments


def final_shape(s: Sizes, documents: Documents | None, wanted: bool) -> tuple[int, ...]:
    """Return the shape of initial and final states; empty for states of packed documents that are not wanted."""
    if documents is None:
        return s.B, s.H, s.K, s.V
    return (documents.documents, s.H, s.K, s.V) if wanted else (0,)


def programs_of_scan(s: Sizes, segments: int, blocks: Blocks, device: torch.device) -> tuple[int, int, int]:
    """Return the number of programs of a scan over ``segments``, forwards or backwards, its warps and its stages."""
    columns, warps, stages, alone = blocks.scan
    programs = ceil_div(s.V, columns) * segments * s.B * s.H
    return programs, warps, alone if programs <= multiprocessors(device) else stages
