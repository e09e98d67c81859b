"""Launches of the gated delta rule's kernels: block sizes, buffers, and the order of the passes."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.kernels.arguments import num_chunks
from nas.kernels.gated_delta_rule import triton_forward, triton_invert
from nas.kernels.gated_delta_rule.triton_documents import Documents, for_documents, tabulate
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.triton_support import dot_precision, multiprocessors, narrowest, on_device

PROGRAMS_PER_MULTIPROCESSOR = 2
"""Programs of a split scan; a scan is split where whole sequences would leave over half of the multiprocessors idle."""

MIN_SEGMENT_TOKENS = 1024
"""Fewest tokens in a segment: computing a segment's effect on the state takes as long as scanning it."""


@dataclass(frozen=True)
class Blocks:
    """Block sizes: BT tokens a tile, BK >= K in blocks of BKB; per kernel (rows,) columns of V, warps, stages.

    ``invert`` is warps and the maximum of registers a thread; that maximum is also the last entry of ``summarise``.
    ``split_scan`` and ``split_scan_back`` are for sequences in segments, whose programs share a multiprocessor.
    """

    BT: int
    BK: int
    BKB: int
    invert: tuple[int, int | None]
    prepare: tuple[int, int]
    summarise: tuple[int, int, int, int | None]
    chain: tuple[int, int, int]
    scan: tuple[int, int, int]
    scan_back: tuple[int, int, int]
    split_scan: tuple[int, int, int]
    split_scan_back: tuple[int, int, int]
    values: tuple[int, int]
    keys: tuple[int, int, int]


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
        scan = (columns, 4, 1)
        return Blocks(
            BT=min(16 if big else 32, chunk_size), BK=padded, BKB=min(padded, 32), invert=(1, None), prepare=(4, 3),
            summarise=(*scan, None), chain=(32, columns, 4), scan=scan, scan_back=scan, split_scan=scan,
            split_scan_back=scan, values=(columns, 4), keys=(columns, 4, 2),
        )  # fmt: skip
    tile = min(64, chunk_size)
    scan = (64, 8, 1) if big else (64, 4, 2)
    alone = (64, 8, 1) if big else (64, 4, 1)
    return Blocks(
        BT=tile, BK=padded, BKB=64, invert=(1, 168), prepare=(4, 3),
        summarise=(*scan, None) if big else (64, 4, 1, 168), chain=(128, 64, 8),
        scan=scan, scan_back=scan, split_scan=alone, split_scan_back=alone if big or value_dim <= 64 else (128, 8, 2),
        values=(64, 4), keys=(64, 4, 3),
    )  # fmt: skip


def _small_blocks(chunk_size: int, padded: int, wide: bool) -> Blocks:
    """Return block sizes that fit in 99 KiB of shared memory, for keys of ``padded`` columns.

    On GPUs before Hopper, and on those for desktops, the operands of a product are in registers: blocks are narrower.
    """
    big = padded > 128
    columns = 16 if wide and big else 32
    scan = (columns, 8, 1) if wide or big else (columns, 4, 2)
    return Blocks(
        BT=min((16 if big else 32) if wide else 64, chunk_size), BK=padded, BKB=min(padded, 32) if wide else 64,
        invert=(1, None), prepare=(4, 3), summarise=(*scan, None), chain=(32, columns, 4) if wide else (64, 64, 8),
        scan=scan, scan_back=scan, split_scan=scan, split_scan_back=scan,
        values=(columns if wide else 64, 4), keys=(columns, 8, 2),
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
    segments = math.ceil(PROGRAMS_PER_MULTIPROCESSOR * multiprocessors(device) / programs)
    least = max(1, MIN_SEGMENT_TOKENS // tile_tokens)
    each = max(least, math.ceil(tiles / segments))
    return min(tiles, math.ceil(each / tiles_of_chunk) * tiles_of_chunk)


def sizes_of(
    q: Tensor, v: Tensor, route: Tensor | None, chunk_size: int, blocks: Blocks, documents: Documents | None = None
) -> Sizes:
    """Return the sizes of a call with these arguments."""
    batch, length, heads, value_dim = v.shape
    sub = chunk_size // blocks.BT
    if documents is None:
        tiles, chunks = ceil_div(length, blocks.BT), num_chunks(length, chunk_size)
        each = _tiles_of_segment(v, tiles, chunk_size, blocks)
        segments = ceil_div(tiles, each)
    else:
        tiles, chunks, segments, each = documents.tiles, documents.chunks, documents.segments, 0
    routing_heads = heads if route is None else route.shape[-1]
    return Sizes(
        batch, length, heads, q.shape[-1], value_dim, tiles, chunks, routing_heads, sub,
        segments, each, heads // q.shape[2],
    )  # fmt: skip


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


def segments_of(documents: Documents | None) -> tuple[Tensor | None, int | None]:
    """Return the table of segments and the number of segments of split documents; None without documents."""
    return (None, None) if documents is None else (documents.segment_table, documents.split_segments)


def version_of(kernel: Any, documents: Documents | None) -> Any:
    """Return the version of a kernel that a call with these documents launches."""
    return kernel if documents is None else for_documents(kernel)


class Saved(NamedTuple):
    """Tensors that the backward pass needs beside the inputs, tile by tile.

    Attributes:
        c: [B * H, NT, 2, BT] float32, running sums of the integer and the fractional parts of g in each tile.
        a: [B * H, NT, BT, BT], inverses of the triangular systems.
        w: [B * H, NT, BT, BK], and q of the same shape: the factors of the state in X and in o.
        states: [B * H, NT, K, V], before each tile.
        transitions: [B * H, segments, K, K], each segment's linear map of the state; empty for one segment. With packed
            documents, the segments of split documents.
    """

    c: Tensor
    a: Tensor
    w: Tensor
    q: Tensor
    states: Tensor
    transitions: Tensor


def strides(*tensors: Tensor) -> list[int]:
    """Return the strides of batch, token and head of each [B, T, H, D]."""
    return [x.stride(axis) for x in tensors for axis in (0, 1, 2)]


def constants_of(
    s: Sizes, blocks: Blocks, dtype: torch.dtype, route: Tensor | None, documents: Documents | None
) -> dict[str, int | bool | str]:
    """Return the compile-time constants of all kernels but the first."""
    return {
        "K": s.K, "V": s.V, "BK": blocks.BK, "BT": blocks.BT, "SUB": s.SUB, "GROUP": s.GROUP,
        "HAS_ROUTE": route is not None, "PACKED": documents is not None, "PRECISION": dot_precision(dtype),
    }  # fmt: skip


class Prepared(NamedTuple):
    """Tensors of all tiles that `scan` needs beside the inputs.

    Attributes:
        saved: the part that the backward pass needs too, with states still to be written.
        a_beta: [B * H, NT, BT, BT], from values to the written vectors; p: the same shape, from values to outputs.
        starts: [B * H, segments, K, V] float32, the states before the segments; None for zeros. With packed documents,
            before the segments of split documents.
        initial: [documents, H, K, V] float32 or None, the initial states of packed documents.
    """

    saved: Saved
    a_beta: Tensor
    p: Tensor
    starts: Tensor | None
    initial: Tensor | None


def prepare(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None, g: Tensor, beta: Tensor, initial_state: Tensor | None,
    chunk_size: int, scale: float, save: bool, documents: Documents | None = None,
) -> Prepared:  # fmt: skip
    """Compute everything that does not depend on the order of the tiles; ``save`` as in `scan`.

    q, k, v have one dtype and a dense last axis; g, beta, route and initial_state are contiguous, the last two float32.
    """
    blocks = blocks_of(q.shape[-1], v.shape[-1], chunk_size, q.dtype, q.device)
    s = sizes_of(q, v, route, chunk_size, blocks, documents)
    heads, bt, bk = s.B * s.H, blocks.BT, blocks.BK
    tiles = None if documents is None else documents.tile_table
    a_beta, to_keys, p = (q.new_empty(heads, s.NT, bt, bt) for _ in range(3))
    a = torch.empty_like(p) if save else q.new_empty(0)
    w, q_new = (q.new_empty(heads, s.NT, bt, bk) for _ in range(2))
    c = q.new_empty(heads, s.NT, 2, bt, dtype=torch.float32)
    constants = constants_of(s, blocks, q.dtype, route, documents)
    sizes = {name: constants[name] for name in ("K", "BK", "BT", "GROUP", "PACKED", "PRECISION")}
    sizes["BKB"] = blocks.BKB
    with on_device(q):
        warps, registers = blocks.invert
        version_of(triton_invert.invert, documents)[(s.NT * heads,)](
            k, g, beta, tiles, c, a, a_beta, to_keys, s.T, s.H, s.NT, *strides(k), **sizes, SAVE=save,
            num_warps=warps, maxnreg=registers,
        )  # fmt: skip
        warps, stages = blocks.prepare
        version_of(triton_forward.prepare, documents)[(s.NT * heads,)](
            q, k, tiles, c, a_beta, to_keys, w, q_new, p, scale, s.T, s.H, s.NT, *strides(q, k), **sizes,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip
        starts, transitions = initial_state if documents is None else None, q.new_empty(0)
        chained = chained_segments(s, documents)
        if chained > 0:
            ends = q.new_empty(heads, chained, s.K, s.V, dtype=torch.float32)
            transitions = q.new_empty(heads, chained, s.K, s.K)
            columns, warps, stages, registers = blocks.summarise
            programs = (ceil_div(s.V, columns) + ceil_div(bk, columns)) * chained * heads
            table = None if documents is None else documents.segment_table
            version_of(triton_forward.summarise, documents)[(programs,)](
                k, v, route, table, c, a_beta, w, ends, transitions,
                s.T, s.H, s.NT, s.N, s.R, chained, s.segment_tiles, *strides(k, v),
                **constants, BV=columns, SAVE=save, STAGES=stages, num_warps=warps, maxnreg=registers,
            )  # fmt: skip
            starts = chain(transitions, ends, initial_state, s, blocks, documents, back=False)
    states = q.new_empty(heads, s.NT, s.K, s.V) if save else q.new_empty(0)
    saved = Saved(c, a, w, q_new, states, transitions)
    return Prepared(saved, a_beta, p, starts, None if documents is None else initial_state)


def scan(
    k: Tensor, v: Tensor, route: Tensor | None, prepared: Prepared, chunk_size: int, save: bool,
    documents: Documents | None = None, final_state: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return o [B, T, H, V] and the final state [B, H, K, V] float32; with ``save`` write ``prepared.saved.states``.

    Of packed documents the final states are [documents, H, K, V], and empty without ``final_state``.
    """
    blocks = blocks_of(k.shape[-1], v.shape[-1], chunk_size, k.dtype, k.device)
    s = sizes_of(k, v, route, chunk_size, blocks, documents)
    saved, starts, initial = prepared.saved, prepared.starts, prepared.initial
    o = k.new_empty(s.B, s.T, s.H, s.V)
    final = k.new_empty(final_shape(s, documents, final_state), dtype=torch.float32)
    columns, warps, stages = blocks.scan if s.segments == 1 else blocks.split_scan
    table, split_segments = segments_of(documents)
    programs, loop = programs_of(s, columns, k.device)
    with on_device(k):
        version_of(triton_forward.scan, documents)[(programs,)](
            k, v, route, table, saved.c, prepared.a_beta, saved.w, saved.q, prepared.p, starts, initial, o,
            saved.states, final, s.B * s.H, s.T, s.H, s.NT, s.N, s.R, s.segments, s.segment_tiles, split_segments,
            *strides(k, v), **constants_of(s, blocks, k.dtype, route, documents),
            BV=columns, HAS_START=starts is not None, HAS_INITIAL=initial is not None, HAS_FINAL=final.numel() > 0,
            SAVE=save, LOOP=loop, STAGES=stages, num_warps=warps,
        )  # fmt: skip
    return o, final


def programs_of(s: Sizes, columns: int, device: torch.device) -> tuple[int, bool]:
    """Return the number of programs of a scan over ``columns`` blocks, and whether each has several blocks.

    There are at most as many programs as run at once. Where each occupies a multiprocessor, a waiting program would
    keep other kernels from using the multiprocessors that the scan leaves idle.
    """
    works = ceil_div(s.V, columns) * s.segments * s.B * s.H
    programs = works if s.segments > 1 else min(works, multiprocessors(device))
    return programs, works > programs


def chain(
    transitions: Tensor, added: Tensor, first: Tensor | None, s: Sizes, blocks: Blocks, documents: Documents | None,
    back: bool,
) -> Tensor:  # fmt: skip
    """Compute states at segment starts, or gradients at segment ends if ``back``: [B * H, segments, K, V] float32."""
    states = torch.empty_like(added)
    block, columns, warps = blocks.chain
    table, heads, sequences = None, None, s.B
    if documents is not None:
        table, heads = documents.split_table, s.H
        sequences = table.shape[0] // 4
    version_of(triton_forward.chain, documents)[(ceil_div(s.V, columns) * sequences * s.H,)](
        transitions, added, first, states, table, heads, added.shape[1],
        K=s.K, V=s.V, BK=blocks.BK, BKB=min(blocks.BK, block), BV=columns,
        HAS_FIRST=first is not None, BACKWARD=back, PACKED=documents is not None,
        PRECISION=dot_precision(transitions.dtype),
        num_warps=warps, num_stages=1,
    )  # fmt: skip
    return states
