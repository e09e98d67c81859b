"""Launches of the gated delta rule's kernels: buffers, and the order of the passes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.kernels.gated_delta_rule import hopper, triton_forward, triton_invert
from nas.kernels.gated_delta_rule.triton_documents import Documents, for_documents, segments_of
from nas.kernels.gated_delta_rule.triton_plan import (
    Blocks,
    Sizes,
    ceil_div,
    chained_segments,
    final_shape,
    plan,
    programs_of_scan,
)
from nas.kernels.machine import has_tile_copies
from nas.kernels.triton_support import allow_scratch_memory, can_be_copied, dot_precision, on_device, strides


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
        reach: [B * H, segments, 2] int32, how far the state reaches into the segments, see `triton_reach`; empty for
            one segment.
        starts: [B * H, segments, K, V] float32, the states before the segments, where x and states were left out;
            empty for zeros.
    """

    gates: Tensor
    a: Tensor
    x: Tensor
    states: Tensor
    transitions: Tensor
    reach: Tensor
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
        gates, a, transitions, reach: as in `Saved`.
        starts: [B * H, segments, K, V] float32, the states before the segments; None for zeros. With packed documents,
            before the segments of split documents.
        initial: [documents, H, K, V] float32 or None, the initial states of packed documents.
    """

    gates: Tensor
    a: Tensor
    transitions: Tensor
    reach: Tensor
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
    chained = chained_segments(s, documents)
    bounds = k.new_empty((heads, s.NT) if chained > 0 else 0, dtype=torch.float32)
    ends, transitions = (
        k.new_empty((heads, chained, s.K, size) if chained > 0 else 0, dtype=dtype)
        for size, dtype in ((s.V, torch.float32), (s.K, k.dtype))
    )
    reach = k.new_empty((heads, chained, 2) if chained > 0 else 0, dtype=torch.int32)
    with on_device(k):
        sizes = {name: constants[name] for name in ("K", "BK", "BT", "GROUP", "PACKED", "PRECISION")}
        version_of(triton_invert.invert, documents)[(s.NT * heads,)](
            k, g, beta, tiles, gates, a, bounds, s.T, s.H, s.NT, *strides(k), **sizes, BKB=blocks.invert,
            HAS_BOUNDS=chained > 0, num_warps=1,
        )  # fmt: skip
        starts = initial_state if documents is None else None
        if chained > 0:
            columns, warps, stages = blocks.summarise
            programs = (ceil_div(s.V, columns) + ceil_div(blocks.BK, columns)) * chained * heads
            table = None if documents is None else documents.segment_table
            version_of(triton_forward.summarise, documents)[(programs,)](
                k, v, route, table, bounds, gates, a, ends, transitions, reach,
                s.T, s.H, s.NT, s.N, s.R, chained, s.segment_tiles, *strides(k, v),
                **constants, BV=columns, SAVE=save, TMA=use_descriptors(stages, bt, k, v),
                STAGES=stages, num_warps=warps,
            )  # fmt: skip
            starts = chain(transitions, reach, ends, initial_state, s, blocks, documents, back=False)
    return Prepared(gates, a, transitions, reach, starts, None if documents is None else initial_state)


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
    prepared = Prepared(saved.gates, saved.a, saved.transitions, saved.reach, starts, None)
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
    if hopper.takes(blocks.BT * s.SUB, queries, k, v):
        with on_device(k):
            from nas.kernels.gated_delta_rule.hopper import launch

            launch.scan(
                q, k, v, route, prepared.gates, prepared.a, prepared.starts, prepared.initial, o, x, states, final,
                scale, (s.segments, s.segment_tiles), documents,
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
