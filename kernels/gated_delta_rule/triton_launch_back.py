"""Launches of the gated delta rule's backward pass: the scan of the state's gradient, then the inputs' gradients."""

import torch
from torch import Tensor

from nas.kernels.gated_delta_rule import hopper, triton_backward, triton_scan_back
from nas.kernels.gated_delta_rule.triton_documents import Documents, segments_of
from nas.kernels.gated_delta_rule.triton_launch import (
    Saved,
    chain,
    constants_of,
    use_descriptors,
    version_of,
)
from nas.kernels.gated_delta_rule.triton_plan import chained_segments, final_shape, plan, programs_of_scan
from nas.kernels.triton_support import on_device, strides


def state_gradients(
    q: Tensor, k: Tensor, do: Tensor, route: Tensor | None, saved: Saved, dfinal: Tensor | None, chunk_size: int,
    scale: float, documents: Documents | None = None, initial_state: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return gradients: of the states after each tile [B * H, NT, K, V], dR [B * H, NT, BT, V], and of initial states.

    The last are in float32; of packed documents they are [documents, H, K, V], and empty without ``initial_state``.
    """
    blocks, s = plan(k, do, route, chunk_size, documents)
    heads, chained = s.B * s.H, chained_segments(s, documents)
    dstates, dr = k.new_empty(heads, s.NT, s.K, s.V), k.new_empty(heads, s.NT, blocks.BT, s.V)
    before = k.new_empty(heads, s.segments if documents is None else chained, s.K, s.V, dtype=torch.float32)
    dinitial = k.new_empty(final_shape(s, documents, initial_state) if documents else 0, dtype=torch.float32)
    constants = constants_of(s, blocks, k.dtype, route, documents)
    table, split_segments = segments_of(documents)

    def scan_back(segments: int, ends: Tensor | None, final: Tensor | None, starts: Tensor, save: bool) -> None:
        if hopper.takes(chunk_size, q, k, do):
            from nas.kernels.gated_delta_rule.hopper import launch

            launch.scan_back(
                q, k, do, route, saved.reach, saved.gates, saved.a, ends, final, dstates, dr, starts, scale,
                (segments, s.segment_tiles), save, documents,
            )  # fmt: skip
            return
        programs, warps, stages = programs_of_scan(s, segments, blocks, k.device)
        version_of(triton_scan_back.scan_back, documents)[(programs,)](
            q, k, do, route, table, saved.reach, saved.gates, saved.a, ends, final, dstates, dr, starts,
            scale, s.T, s.H, s.NT, s.N, s.R, segments, s.segment_tiles, split_segments,
            *strides(q, k, do), **constants, BV=blocks.scan[0],
            HAS_END=ends is not None, HAS_FINAL=final is not None, HAS_INITIAL=dinitial.numel() > 0,
            SAVE=save, TMA=use_descriptors(stages, blocks.BT, q, k, do), STAGES=stages, num_warps=warps,
        )  # fmt: skip

    with on_device(k):
        ends = dfinal if documents is None else None
        if chained > 0:
            scan_back(chained, None, None, before, save=False)
            ends = chain(saved.transitions, saved.reach, before, dfinal, s, blocks, documents, back=True)
        if documents is not None:
            scan_back(s.segments, ends, dfinal, dinitial, save=True)
            return dstates, dr, dinitial
        scan_back(s.segments, ends, None, before, save=True)
    return dstates, dr, before[:, 0].reshape(s.B, s.H, s.K, s.V)


def differentiate(
    q: Tensor, k: Tensor, v: Tensor, route: Tensor | None, saved: Saved, dstates: Tensor, dr: Tensor, do: Tensor,
    dv: Tensor | None, chunk_size: int, scale: float, full_route_grad: bool, documents: Documents | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Compute dq, dk, dv, and in float32 dg, dbeta and droute [B, N, R] (empty without a route).

    Where several heads of v share a head of q and k, dq and dk are sums over them. In Triton they are first written for
    each head of v in float32, [B, T, H, K] each, which takes that memory and one more pass over it.

    Args:
        q, k, v, route, saved: as in the forward pass.
        dstates, dr: gradients of the states and dR, from `state_gradients`.
        do: [B, T, H, V] with a dense last axis.
        dv: dense like v, a tensor to which the gradient of v is added in place; None for a new tensor.
        chunk_size, scale, full_route_grad: as in the operation.
    """
    blocks, s = plan(q, v, route, chunk_size, documents)
    tiles = None if documents is None else documents.tile_table
    adds = dv is not None
    dv = v.new_empty(v.shape) if dv is None else dv
    on_hopper = hopper.takes_gradients(chunk_size, documents is not None, q, k, v, do)
    summed = s.GROUP == 1 or on_hopper
    heads, dtype = (q.shape[2], q.dtype) if summed else (s.H, torch.float32)
    dq, dk = (q.new_empty(s.B, s.T, heads, s.K, dtype=dtype) for _ in range(2))
    dg, dbeta = (q.new_empty(s.B, s.T, s.H, dtype=torch.float32) for _ in range(2))
    droute = q.new_empty(s.B * s.H if route is not None else 0, s.N, dtype=torch.float32)
    constants = constants_of(s, blocks, q.dtype, route, documents)
    tiles_of_heads = s.NT * s.B * s.H
    sums, overlaps = dg.new_empty(4, tiles_of_heads, blocks.BT), dg.new_empty(3, tiles_of_heads)
    counts = (s.T, s.H, s.NT, s.N, s.R)
    with on_device(q):
        first = 0
        if on_hopper:
            from nas.kernels.gated_delta_rule.hopper import launch

            first = s.NT if documents is None else documents.full_tiles
            launch.differentiate(
                q, k, v, do, route, tiles, saved.gates, saved.x, dr, saved.states, dstates, dq, dk, dv, sums, overlaps,
                scale, first, adds,
            )  # fmt: skip
        if first < s.NT:
            key_columns, columns, warps, stages = blocks.gradients
            rest = s.NT - first
            version_of(triton_backward.differentiate, documents)[(2 * s.B * s.H * rest,)](
                q, k, v, route, tiles, saved.gates, saved.x, saved.states, dstates, do, dr, dq, dk, dv, sums, overlaps,
                scale, *counts, first, rest, *strides(q, k, v, do), **constants,
                BKB=key_columns, BV=columns, ADD=adds, STAGES=stages, num_warps=warps,
            )  # fmt: skip
        shapes = {name: constants[name] for name in ("BT", "SUB", "HAS_ROUTE", "PACKED")}
        version_of(triton_backward.differentiate_gates, documents)[(tiles_of_heads,)](
            route,
            tiles,
            saved.gates,
            sums,
            overlaps,
            dg,
            dbeta,
            droute,
            *counts,
            **shapes,
            FULL_ROUTE_GRAD=full_route_grad,
            num_warps=1,
        )
    if route is None:
        droute = q.new_empty(0, dtype=torch.float32)
    else:
        droute = droute.view(s.B, s.R, s.H // s.R, s.N).sum(2).mT.contiguous()
    if not summed:
        dq, dk = (x.unflatten(2, (-1, s.GROUP)).sum(3).to(q.dtype) for x in (dq, dk))
    return dq, dk, dv, dg, dbeta, droute
