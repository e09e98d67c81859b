"""The gated delta rule on Triton kernels, as operators with gradients that torch.compile can trace."""

from typing import Any

import torch
from torch import Tensor

from nas.kernels.gated_delta_rule import triton_launch, triton_launch_back
from nas.kernels.gated_delta_rule.triton_documents import Documents
from nas.kernels.gated_delta_rule.triton_launch import Saved
from nas.kernels.gated_delta_rule.triton_plan import chained_segments, documents_of, final_shape, plan
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import dense, operand_dtype


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    initial_state: Tensor | None,
    full_route_grad: bool,
    borders: list[int] | None = None,
    final_state: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return o [B, T, H, V] and the final state of `nas.kernels.gated_delta_rule` for valid arguments.

    Matrix products use the widest dtype of q, k and v, or autocast's, and are summed in float32; states are float32.
    Gradients are deterministic, bit by bit. With ``borders``, those of packed documents, the final state is empty
    unless ``final_state``.
    """
    dtype, output_dtype = operand_dtype(q, k, v), operand_dtype(v)
    single = (x if x is None else x.float() for x in (g, beta, route, initial_state))
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    inputs = (q, k, v, *single)
    save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)
    tables: Tensor | None = None
    layout: list[int] | None = None
    if borders is not None and len(borders) > 2:  # one document is a sequence
        tables, *layout = documents_of(borders, q, v, chunk_size)
    o, final, *_ = _forward(*inputs, chunk_size, scale, full_route_grad, save, final_state, True, tables, layout)
    return o.to(output_dtype), final


def _documents(tables: Tensor | None, layout: list[int] | None) -> Documents | None:
    return None if tables is None or layout is None else Documents(tables, *layout)


def _contiguous(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.contiguous()


def run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None,
    initial_state: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    save: bool,
    final_state: bool = True,
    keep_states: bool = True,
    tables: Tensor | None = None,
    layout: list[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return o, the final state, and the tensors for the backward pass (`Saved`), empty without ``save``.

    Without ``keep_states`` those which `triton_launch.with_states` can compute are empty too. ``tables`` and ``layout``
    are the fields of `Documents`, None without packed documents.
    """
    documents = _documents(tables, layout)
    q, k, v, route = dense(q), dense(k), dense(v), _contiguous(route)
    prepared = triton_launch.prepare(
        k, v, route, g.contiguous(), beta.contiguous(), _contiguous(initial_state), chunk_size, save, documents
    )
    o, final, x, states = triton_launch.scan(
        q, k, v, route, prepared, chunk_size, scale, save and keep_states, documents, final_state
    )
    starts = o.new_empty(0, dtype=torch.float32)
    if prepared.starts is not None and not keep_states:
        starts = prepared.starts
    saved = Saved(prepared.gates, prepared.a, x, states, prepared.transitions, prepared.reach, starts)
    return o, final, *(saved if save else empty_saved(saved))


def empty_saved(saved: Saved) -> Saved:
    """Return empty tensors in place of ``saved``, for a call without a backward pass."""
    return Saved(*(x.new_empty(0) for x in saved))


def fake_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None,
    initial_state: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    save: bool,
    final_state: bool = True,
    keep_states: bool = True,
    tables: Tensor | None = None,
    layout: list[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return empty tensors with the shapes and dtypes of the forward pass's results."""
    documents = _documents(tables, layout)
    blocks, s = plan(q, v, route, chunk_size, documents)
    heads, bt = s.B * s.H, blocks.BT

    chained = chained_segments(s, documents)

    def saved(wanted: bool, *shape: int, dtype: torch.dtype = q.dtype) -> Tensor:
        return q.new_empty(shape if save and wanted else (0,), dtype=dtype)

    return (
        q.new_empty(s.B, s.T, s.H, s.V),
        q.new_empty(final_shape(s, documents, final_state), dtype=torch.float32),
        saved(True, heads, s.NT, 3, bt, dtype=torch.float32),
        saved(True, heads, s.NT, bt, bt),
        saved(keep_states, heads, s.NT, bt, s.V),
        saved(keep_states, heads, s.NT, s.K, s.V),
        saved(chained > 0, heads, chained, s.K, s.K),
        saved(chained > 0, heads, chained, 2, dtype=torch.int32),
        saved(chained > 0 and not keep_states, heads, chained, s.K, s.V, dtype=torch.float32),
    )


def run_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    saved: list[Tensor],
    do: Tensor,
    dfinal: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    initial_state: bool = True,
    tables: Tensor | None = None,
    layout: list[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute dq, dk, dv, dg, dbeta, droute (empty without a route) and the gradient of the initial state.

    Of packed documents the last one is empty without ``initial_state``.
    """
    documents = _documents(tables, layout)
    q, k, v, do, route, kept = dense(q), dense(k), dense(v), dense(do), _contiguous(route), Saved(*saved)
    dfinal = None if dfinal is None or dfinal.numel() == 0 else dfinal.contiguous()  # a compiler fills in empty ones
    dstates, dr, dinitial = triton_launch_back.state_gradients(
        q, k, do, route, kept, dfinal, chunk_size, scale, documents, initial_state
    )
    dq, dk, dv, dg, dbeta, droute = triton_launch_back.differentiate(
        q, k, v, route, kept, dstates, dr, do, None, chunk_size, scale, full_route_grad, documents
    )
    return dq, dk, dv, dg, dbeta, droute, dinitial


def fake_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    saved: list[Tensor],
    do: Tensor,
    dfinal: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    initial_state: bool = True,
    tables: Tensor | None = None,
    layout: list[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return empty tensors with the shapes and dtypes of the backward pass's results."""
    documents, single = _documents(tables, layout), torch.float32
    _, s = plan(q, v, route, chunk_size, documents)
    return (
        q.new_empty(q.shape),
        k.new_empty(k.shape),
        v.new_empty(v.shape),
        q.new_empty(s.B, s.T, s.H, dtype=single),
        q.new_empty(s.B, s.T, s.H, dtype=single),
        q.new_empty(0 if route is None else route.shape, dtype=single),
        q.new_empty(final_shape(s, documents, initial_state), dtype=single),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, _, _, route, initial_state, *options, _, _, _, tables, ctx.layout = inputs
    ctx.options = options
    ctx.save_for_backward(q, k, v, route, tables, *output[2:])
    ctx.has_initial_state = initial_state is not None
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, do: Tensor | None, dfinal: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    q, k, v, route, tables, *saved = ctx.saved_tensors
    do = v.new_zeros(v.shape) if do is None else do
    dq, dk, dv, dg, dbeta, droute, dinitial = _backward(
        q, k, v, route, saved, do, dfinal, *ctx.options, ctx.has_initial_state, tables, ctx.layout
    )
    return (
        dq, dk, dv, dg, dbeta, None if route is None else droute, dinitial if ctx.has_initial_state else None,
        None, None, None, None, None, None, None, None,
    )  # fmt: skip


_backward = Operator("gated_delta_rule_backward", run_backward, fake_backward)
_forward = DifferentiableOperator("gated_delta_rule", run_forward, fake_forward, _save, _differentiate)
