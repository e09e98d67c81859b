"""Launches of the kernels for Hopper; the calls are those that `takes` and `takes_gradients` name."""

from torch import Tensor

from nas.kernels.gated_delta_rule.hopper import CHUNK_SIZE, KEY_DIM, VALUE_DIM, gradients
from nas.kernels.gated_delta_rule.hopper import scan as forward
from nas.kernels.gated_delta_rule.hopper import scan_back as backward
from nas.kernels.gated_delta_rule.triton_documents import Documents, segments_of
from nas.kernels.gated_delta_rule.triton_plan import ceil_div
from nas.kernels.triton_support import allow_scratch_memory, multiprocessors, strides

WARPS = 4
"""Warps of a group; a kernel has several groups, and one warp that loads."""


def _programs(heads: int, v: Tensor) -> tuple[int, int]:
    """Return how many programs scan ``heads`` sequences or segments, and how many columns of v each has.

    A multiprocessor runs one program after the other. One with half the columns takes about two thirds of the time.
    """
    programs = heads * (v.shape[-1] // VALUE_DIM)
    whole, halves = (ceil_div(count, multiprocessors(v.device)) for count in (programs, 2 * programs))
    return (2 * programs, VALUE_DIM // 2) if 2 * halves < 3 * whole else (programs, VALUE_DIM)


def scan(
    q: Tensor | None, k: Tensor, v: Tensor, route: Tensor | None, gates: Tensor, a: Tensor, starts: Tensor | None,
    initial: Tensor | None, o: Tensor | None, x: Tensor, states: Tensor, final: Tensor | None, scale: float,
    segments: tuple[int, int], documents: Documents | None,
) -> None:  # fmt: skip
    """Scan ``segments`` = (number of segments, tiles of each) of every head; write what is given and not empty."""
    batch, length, heads, value_dim = v.shape
    programs, columns = _programs(batch * heads * segments[0], v)
    queries = k if q is None else q
    table, split_segments = segments_of(documents)
    allow_scratch_memory(k.device)
    forward.scan[(programs,)](
        queries, k, v, route, table, gates, a, starts, initial, o, x, states, final, scale, length, heads,
        gates.shape[1], heads if route is None else route.shape[-1], *segments, split_segments,
        *strides(queries, k, v), V=value_dim, BV=columns, GROUP=heads // k.shape[2], HAS_ROUTE=route is not None,
        HAS_START=starts is not None, HAS_INITIAL=initial is not None, HAS_OUTPUT=o is not None,
        HAS_FINAL=final is not None and final.numel() > 0, SAVE=states.numel() > 0, PACKED=documents is not None,
        num_warps=WARPS,
    )  # fmt: skip


def scan_back(
    q: Tensor, k: Tensor, do: Tensor, route: Tensor | None, reach: Tensor | None, gates: Tensor, a: Tensor,
    ends: Tensor | None, final: Tensor | None, dstates: Tensor, dr: Tensor, starts: Tensor, scale: float,
    segments: tuple[int, int], save: bool, documents: Documents | None,
) -> None:  # fmt: skip
    """Scan ``segments`` of every head backwards; write ``dstates`` and ``dr`` with ``save``, and ``starts``."""
    batch, length, heads, value_dim = do.shape
    programs, columns = _programs(batch * heads * segments[0], do)
    table, split_segments = segments_of(documents)
    allow_scratch_memory(k.device)
    backward.scan_back[(programs,)](
        q, k, do, route, table, reach, gates, a, ends, final, dstates, dr, starts, scale, length, heads,
        gates.shape[1], heads if route is None else route.shape[-1], *segments, split_segments, *strides(q, k, do),
        V=value_dim, BV=columns, GROUP=heads // k.shape[2], HAS_ROUTE=route is not None, HAS_END=ends is not None,
        HAS_FINAL=final is not None, HAS_INITIAL=starts.numel() > 0, SAVE=save, PACKED=documents is not None,
        num_warps=WARPS,
    )  # fmt: skip


def differentiate(
    q: Tensor, k: Tensor, v: Tensor, do: Tensor, route: Tensor | None, table: Tensor | None, gates: Tensor, x: Tensor,
    dr: Tensor, states: Tensor, dstates: Tensor, dq: Tensor, dk: Tensor, dv: Tensor, sums: Tensor, overlaps: Tensor,
    scale: float, count: int, adds: bool,
) -> None:  # fmt: skip
    """Write dq, dk and dv, and for the gradients of the gates ``sums`` and ``overlaps``.

    The gradient of v is added to dv if ``adds``. Of packed documents, whose ``table`` of tiles is given, the first
    ``count`` tiles in its order are taken; else ``count`` is their number.
    """
    batch, length, heads, _ = v.shape
    tiles, group = gates.shape[0] * gates.shape[1], heads // k.shape[2]
    programs = min(gates.shape[0] // group * count, multiprocessors(k.device))
    if programs == 0:
        return
    dq_sums, dk_sums = (None if group == 1 else gates.new_empty(programs, CHUNK_SIZE, KEY_DIM) for _ in range(2))
    of_rows = [tensor.stride(axis) for tensor in (q, k, v, do) for axis in (0, 1)]
    chunks, routing_heads = (1, heads) if route is None else route.shape[1:]
    allow_scratch_memory(k.device)
    gradients.differentiate[(programs,)](
        q, k, v, do, route, table, gates, x, dr, states, dstates, dq, dk, dv, dq_sums, dk_sums, sums, overlaps,
        tiles, scale, batch, length, heads, gates.shape[1], count, routing_heads, chunks, *of_rows,
        VALUE_DIM=v.shape[-1], GROUP=group, HAS_ROUTE=route is not None, ADD=adds, PACKED=table is not None,
        num_warps=WARPS,
    )  # fmt: skip
