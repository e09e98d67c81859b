"""Launches of the gated delta rule's kernels: block sizes, buffers, and the order of the passes."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.kernels.arguments import num_chunks
from nas.kernels.gated_delta_rule import hopper, triton_forward, triton_invert, triton_reach
from nas.kernels.gated_delta_rule.triton_documents import Documents, for_documents, tabulate
from nas.kernels.machine import has_large_shared_memory, has_tile_copies
from nas.kernels.triton_support import (
    allow_scratch_memory,
    can_be_copied,
    dot_precision,
    multiprocessors,
    narrowest,
    on_device,
    strides,
)

PROGRAMS_PER_MULTIPROCESSOR = 2
"""Programs of a split scan; a scan is split where whole sequences would leave over half of the multiprocessors idle."""

MIN_SEGMENT_TOKENS = 1024
"""Fewest tokens in a segment: computing a segment's effect on the state takes as long as scanning it."""


@dataclass(frozen=True)
class Blocks:
    """Block sizes: BT tokens a tile, BK >= K; per kernel (rows,) columns of V, warps, stages.

    ``invert`` is columns of K, warps and the maximum of registers a thread. ``gradients`` begins with columns of K.
    ``scan``, also for the scan back, ends with the stages where programs do not share a multiprocessor.
    """

    BT: int
    BK: int
    invert: tuple[int, int, int | None]
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
            BT=min(16 if big else 32, chunk_size), BK=padded, invert=(min(padded, 32), 1, None),
            summarise=(columns, 4, 1), chain=(32, columns, 4), scan=(columns, 4, 1, 1),
            gradients=(min(padded, 64), columns, 4, 1),
        )  # fmt: skip
    tile = min(64, chunk_size)
    return Blocks(
        BT=tile, BK=padded, invert=(64, 1, 168), summarise=(64, 8, 1) if big else (64, 4, 2), chain=(128, 64, 8),
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
        invert=(min(padded, 32) if wide else 64, 1, None), summarise=scan[:3],
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


def segments_of(documents: Documents | None) -> tuple[Tensor | None, int | None]:
    """Return the table of segments and the number of segments of split documents; None without documents."""
    return (None, None) if documents is None else (documents.segment_table, documents.split_segments)


def version_of(kernel: Any, documents: Documents | None) -> Any:
    """Return the version of a kernel that a call with these documents launches."""
    return kernel if documents is None else for_documents(kernel)


class Saved(NamedTuple):
    """Tensors that the backward pass needs beside the inputs, tile by tile. Some may be empty.

    Attributes:
        gates: [B * H, NT, 3, BT] float32: running sums of the integer and the fractional parts of g in each tile; beta.
        a: [B * H, NT, BT, BT], inverses of the triangular systems.
        x: [B * H, NT, BT, V], the vectors that each tile writes to the state. They and the states may be left out, and
            computed again by `with_states`.
        states: [B * H, NT, K, V], before each tile.
        transitions: [B * H, segments, K, K], each segment's linear map of the state; empty for one segment. With packed
            documents, the segments of split documents.
        starts: [B * H, segments, K, V] float32, the states before the segments, where x and states were left out;
            empty for zeros.
    """

    gates: Tensor
    a: Tensor
    x: Tensor
    states: Tensor
    transitions: Tensor
    starts: Tensor


def constants_of(
    s: Sizes, blocks: Blocks, dtype: torch.dtype, route: Tensor | None, documents: Documents | None
) -> dict[str, int | bool | str]:
    """Return the compile-time constants of all kernels but the first."""
    return {
        "K": s.K, "V": s.V, "BK": blocks.BK, "BT": blocks.BT, "SUB": s.SUB, "GROUP": s.GROUP,
        "HAS_ROUTE": route is not None, "PACKED": documents is not None, "PRECISION": dot_precision(dtype),
    }  # fmt: skip


class Prepared(NamedTuple):
    """What `scan` needs beside the inputs.

    Attributes:
        gates, a, transitions: as in `Saved`.
        starts: [B * H, segments, K, V] float32, the states before the segments; None for zeros. With packed documents,
            before the segments of split documents.
        initial: [documents, H, K, V] float32 or None, the initial states of packed documents.
    """

    gates: Tensor
    a: Tensor
    transitions: Tensor
    starts: Tensor | None
    initial: Tensor | None


def prepare(
    k: Tensor, v: Tensor, route: Tensor | None, g: Tensor, beta: Tensor, initial_state: Tensor | None,
    chunk_size: int, save: bool, documents: Documents | None = None,
) -> Prepared:  # fmt: skip
    """Compute everything that does not depend on the order of the tiles; ``save`` whether there is a backward pass.

    k and v have one dtype and a dense last axis; g, beta, route and initial_state are contiguous, the last two float32.
    """
    blocks, s = plan(k, v, route, chunk_size, documents)
    heads, bt = s.B * s.H, blocks.BT
    tiles = None if documents is None else documents.tile_table
    a = k.new_empty(heads, s.NT, bt, bt)
    gates = k.new_empty(heads, s.NT, 3, bt, dtype=torch.float32)
    constants = constants_of(s, blocks, k.dtype, route, documents)
    with on_device(k):
        columns, warps, registers = blocks.invert
        sizes = {name: constants[name] for name in ("K", "BK", "BT", "GROUP", "PACKED", "PRECISION")}
        version_of(triton_invert.invert, documents)[(s.NT * heads,)](
            k, g, beta, tiles, gates, a, s.T, s.H, s.NT, *strides(k), **sizes, BKB=columns,
            num_warps=warps, maxnreg=registers,
        )  # fmt: skip
        starts, transitions = initial_state if documents is None else None, k.new_empty(0)
        chained = chained_segments(s, documents)
        reach = reach_of(k, gates, s, blocks, documents)
        if reach is not None:
            ends = k.new_empty(heads, chained, s.K, s.V, dtype=torch.float32)
            transitions = k.new_empty(heads, chained, s.K, s.K)
            columns, warps, stages = blocks.summarise
            programs = (ceil_div(s.V, columns) + ceil_div(blocks.BK, columns)) * chained * heads
            table = None if documents is None else documents.segment_table
            version_of(triton_forward.summarise, documents)[(programs,)](
                k, v, route, table, reach, gates, a, ends, transitions,
                s.T, s.H, s.NT, s.N, s.R, chained, s.segment_tiles, *strides(k, v),
                **constants, BV=columns, SAVE=save, TMA=use_descriptors(stages, bt, k, v),
                STAGES=stages, num_warps=warps,
            )  # fmt: skip
            starts = chain(transitions, reach, ends, initial_state, s, blocks, documents, back=False)
    return Prepared(gates, a, transitions, starts, None if documents is None else initial_state)


def scan(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None, prepared: Prepared, chunk_size: int, scale: float,
    save: bool, documents: Documents | None = None, final_state: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return o [B, T, H, V], the final state [B, H, K, V] float32, and x and states of `Saved`, empty without ``save``.

    Of packed documents the final states are [documents, H, K, V], and empty without ``final_state``.
    """
    blocks, s = plan(k, v, route, chunk_size, documents)
    final = k.new_empty(final_shape(s, documents, final_state), dtype=torch.float32)
    o = k.new_empty(v.shape)
    x, states = _scan(q, k, v, route, prepared, blocks, s, scale, o, final, save, documents)
    return o, final, x, states


def with_states(k: Tensor, v: Tensor, route: Tensor, saved: Saved, chunk_size: int) -> Saved:
    """Return ``saved`` with x and states, computed again from the rest."""
    starts = saved.starts if saved.starts.numel() > 0 else None
    prepared = Prepared(saved.gates, saved.a, saved.transitions, starts, None)
    x, states = _scan(None, k, v, route, prepared, *plan(k, v, route, chunk_size, None), 1.0, None, None, True, None)
    return saved._replace(x=x, states=states)


def _scan(
    q: Tensor | None, k: Tensor, v: Tensor, route: Tensor | None, prepared: Prepared, blocks: Blocks, s: Sizes,
    scale: float, o: Tensor | None, final: Tensor | None, save: bool, documents: Documents | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Scan all segments, write ``o`` and ``final`` where they are given, and return x and states."""
    heads = s.B * s.H
    x = k.new_empty((heads, s.NT, blocks.BT, s.V) if save else 0)
    states = k.new_empty((heads, s.NT, s.K, s.V) if save else 0)
    table, split_segments = segments_of(documents)
    queries = k if q is None else q
    if hopper.takes(blocks.BT * s.SUB, documents is not None, queries, k, v):
        with on_device(k):
            from nas.kernels.gated_delta_rule.hopper import launch

            launch.scan(
                q, k, v, route, prepared.gates, prepared.a, prepared.starts, o, x, states, final, scale,
                (s.segments, s.segment_tiles),
            )  # fmt: skip
        return x, states
    programs, warps, stages = programs_of_scan(s, s.segments, blocks, k.device)
    with on_device(k):
        version_of(triton_forward.scan, documents)[(programs,)](
            queries, k, v, route, table, prepared.gates, prepared.a, prepared.starts, prepared.initial,
            o, x, states, final, scale, s.T, s.H, s.NT, s.N, s.R, s.segments, s.segment_tiles, split_segments,
            *strides(queries, k, v), **constants_of(s, blocks, k.dtype, route, documents), BV=blocks.scan[0],
            HAS_START=prepared.starts is not None, HAS_INITIAL=prepared.initial is not None, HAS_OUTPUT=o is not None,
            HAS_FINAL=final is not None and final.numel() > 0, SAVE=save,
            TMA=use_descriptors(stages, blocks.BT, queries, k, v), STAGES=stages, num_warps=warps,
        )  # fmt: skip
    return x, states


def programs_of_scan(s: Sizes, segments: int, blocks: Blocks, device: torch.device) -> tuple[int, int, int]:
    """Return the number of programs of a scan over ``segments``, forwards or backwards, its warps and its stages."""
    columns, warps, stages, alone = blocks.scan
    programs = ceil_div(s.V, columns) * segments * s.B * s.H
    return programs, warps, alone if programs <= multiprocessors(device) else stages


def use_descriptors(stages: int, tile_tokens: int, *tensors: Tensor) -> bool:
    """Return whether a kernel loads tiles of these tensors by descriptors, and prepare the launch for it.

    The GPU then copies whole tiles on its own (TMA), which needs neither registers for pointers nor instructions. It
    takes addresses that are multiples of 16 bytes, and fills shared memory in multiples of 128 bytes: the gates of
    fewer than 32 tokens are too short. Without several ``stages`` each copy would be waited for.
    """
    if stages == 1 or tile_tokens < 32 or not has_tile_copies(tensors[0].device):
        return False
    allow_scratch_memory(tensors[0].device)
    return can_be_copied(*tensors)


def reach_of(k: Tensor, gates: Tensor, s: Sizes, blocks: Blocks, documents: Documents | None) -> Tensor | None:
    """Return how far states reach into the segments (see `triton_reach`); None without chained segments."""
    chained = chained_segments(s, documents)
    if chained == 0:
        return None
    heads = s.B * s.H
    result = gates.new_empty(heads, chained, 4, dtype=torch.int32)
    table, _ = segments_of(documents)
    version_of(triton_reach.reach, documents)[(heads * chained, 2)](
        k, table, gates, result, s.T, s.H, s.NT, chained, s.segment_tiles, *strides(k), K=s.K, BK=blocks.BK,
        BT=blocks.BT, SUB=s.SUB, GROUP=s.GROUP, PACKED=documents is not None, num_warps=4,
    )  # fmt: skip
    return result


def chain(
    transitions: Tensor, reach: Tensor, added: Tensor, first: Tensor | None, s: Sizes, blocks: Blocks,
    documents: Documents | None, back: bool,
) -> Tensor:  # fmt: skip
    """Compute states at segment starts, or gradients at segment ends if ``back``: [B * H, segments, K, V] float32."""
    states = torch.empty_like(added)
    block, columns, warps = blocks.chain
    table, heads, sequences = None, None, s.B
    if documents is not None:
        table, heads = documents.split_table, s.H
        sequences = table.shape[0] // 4
    version_of(triton_forward.chain, documents)[(ceil_div(s.V, columns) * sequences * s.H,)](
        transitions, reach, added, first, states, table, heads, added.shape[1],
        K=s.K, V=s.V, BK=blocks.BK, BKB=min(blocks.BK, block), BV=columns,
        HAS_FIRST=first is not None, BACKWARD=back, PACKED=documents is not None,
        PRECISION=dot_precision(transitions.dtype),
        num_warps=warps, num_stages=1,
    )  # fmt: skip
    return states
