"""Softmax attention with a route or a window on Triton kernels, as operators that PyTorch can trace and capture.

No operator waits for the device, and no shape depends on the values of the route. Results are deterministic except dq,
which is summed by atomic additions in float32: its last bits may differ from run to run.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nas.kernels.chunk_softmax_attention import (
    triton_backward,
    triton_documents,
    triton_forward,
    triton_index,
    triton_skipped,
    triton_window,
)
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import dense, on_device, operand_dtype


def chunk_softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    borders: list[int] | None = None,
    first: int = 0,
) -> Tensor:
    """Compute `nas.kernels.chunk_softmax_attention` of valid arguments, without a window.

    Outputs before the token ``first`` are not needed: 0 or right.

    Matrix products read their operands in autocast's dtype if it is on, else in the widest dtype of q, k and v. The
    result has autocast's dtype, or else that of v.
    """
    dtype = operand_dtype(q, k, v)
    o, _ = _forward(q.to(dtype), k.to(dtype), v.to(dtype), route, chunk_size, scale, full_route_grad, borders, first)
    return o.to(operand_dtype(v))


def run_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    borders: list[int] | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return o [B, T, H, V] and lse [B, H, T] float32, in base 2; full_route_grad is for the backward pass."""
    q, k, v = (dense(x) for x in (q, k, v))
    documents = _documents(borders, chunk_size)
    with on_device(q):
        index = None if route is None else triton_index.build(route, documents)
        return triton_forward.forward(q, k, v, index, chunk_size, scale, documents=documents, first=first)


def _documents(borders: list[int] | None, chunk_size: int) -> triton_documents.Documents | None:
    """Return the packed documents; None for none. Their chunks have no effect without a route."""
    return None if borders is None else triton_documents.find(borders, chunk_size)


def fake_forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    borders: list[int] | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return empty tensors with the shapes and dtypes of `run_forward`'s results."""
    batch, length, heads, _ = q.shape
    return v.new_empty(*q.shape[:3], v.shape[3]), q.new_empty(batch, heads, length, dtype=torch.float32)


def differentiate(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    o: Tensor,
    lse: Tensor,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    route_gradient: bool,
    on_dv: Callable[[Tensor], None],
    borders: list[int] | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients dq, dk, dv, droute; droute is empty unless route_gradient.

    ``on_dv`` is called with dv once all kernels that compute it are launched, before the remaining kernels.
    """
    do, q, k, v = (dense(x) for x in (do, q, k, v))
    documents = _documents(borders, chunk_size)
    with on_device(q):
        index = None if route is None else triton_index.build(route, documents)
        dq_sum, dk, dv, delta, dweight = triton_backward.backward(
            do, q, k, v, o, lse, index, chunk_size, scale, route_gradient, documents=documents, first=first
        )
        on_dv(dv)
        dq = torch.mul(dq_sum, scale, out=q.new_empty(q.shape))
        if route is None or index is None or dweight is None:
            return dq, dk, dv, q.new_empty(0)
        if full_route_grad:
            triton_skipped.add_skipped(
                dweight, do, q, k, v, lse, delta, index, chunk_size, scale, documents=documents, first=first
            )
        batch, chunks, routing_heads = route.shape
        per_chunk = dweight.view(batch, routing_heads, -1, chunks, chunk_size).sum((2, 4))
        return dq, dk, dv, per_chunk.mT.to(route.dtype).contiguous()


def _run_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    o: Tensor,
    lse: Tensor,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    borders: list[int] | None,
    first: int,
    route_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return differentiate(
        do, q, k, v, route, o, lse, chunk_size, scale, full_route_grad, route_gradient, lambda dv: None, borders, first
    )


def _fake_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    route: Tensor | None,
    o: Tensor,
    lse: Tensor,
    chunk_size: int,
    scale: float,
    full_route_grad: bool,
    borders: list[int] | None,
    first: int,
    route_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    droute = route.new_empty(route.shape) if route is not None and route_gradient else q.new_empty(0)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), droute


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, route, *ctx.options = inputs
    o, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(q, k, v, route, o, lse)


def _differentiate(ctx: Any, do: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, route, o, lse = ctx.saved_tensors
    route_gradient = route is not None and ctx.needs_input_grad[3]
    dq, dk, dv, droute = _backward(do, q, k, v, route, o, lse, *ctx.options, route_gradient)
    return dq, dk, dv, droute if route_gradient else None, None, None, None, None, None


_backward = Operator("chunk_softmax_attention_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("chunk_softmax_attention", run_forward, fake_forward, _save, _differentiate)


def window_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, borders: list[int] | None = None
) -> Tensor:
    """Compute `nas.kernels.chunk_softmax_attention` of valid arguments with a window; dtypes as in the routed case."""
    dtype = operand_dtype(q, k, v)
    o, _ = _window_forward(q.to(dtype), k.to(dtype), v.to(dtype), window, scale, borders)
    return o.to(operand_dtype(v))


def _run_window_forward(
    q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, borders: list[int] | None
) -> tuple[Tensor, Tensor]:
    """Return o [B, T, H, V] and lse [B, H, T] float32, in base 2."""
    q, k, v = (dense(x) for x in (q, k, v))
    with on_device(q):
        return triton_window.forward(q, k, v, window, scale, documents=_documents(borders, 1))


def _fake_window_forward(
    q: Tensor, k: Tensor, v: Tensor, window: int, scale: float, borders: list[int] | None
) -> tuple[Tensor, Tensor]:
    batch, length, heads, _ = q.shape
    return v.new_empty(*q.shape[:3], v.shape[3]), q.new_empty(batch, heads, length, dtype=torch.float32)


def _run_window_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    window: int,
    scale: float,
    borders: list[int] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients dq, dk, dv."""
    do, q, k, v = (dense(x) for x in (do, q, k, v))
    with on_device(q):
        documents = _documents(borders, 1)
        dq_sum, dk, dv = triton_window.backward(do, q, k, v, o, lse, window, scale, documents=documents)
        return torch.mul(dq_sum, scale, out=q.new_empty(q.shape)), dk, dv


def _fake_window_backward(
    do: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    lse: Tensor,
    window: int,
    scale: float,
    borders: list[int] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save_window(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *ctx.options = inputs
    o, lse = output
    ctx.mark_non_differentiable(lse)
    ctx.save_for_backward(q, k, v, o, lse)


def _differentiate_window(ctx: Any, do: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    return *_window_backward(do, *ctx.saved_tensors, *ctx.options), None, None, None


_window_backward = Operator("window_attention_backward", _run_window_backward, _fake_window_backward)
_window_forward = DifferentiableOperator(
    "window_attention", _run_window_forward, _fake_window_forward, _save_window, _differentiate_window
)
