"""Both operations of a routed layer on Triton kernels, as one operator with gradients that torch.compile can trace.

The scan of the linear branch runs one program on a multiprocessor, which waits most of the time. Softmax attention runs
beside it and fills the gaps. The linear branch is a chain of kernels that each need the whole result of the previous
kernel, so it has priority; softmax attention starts with it and uses the remaining resources. The gradient of the
values, which both branches read, is summed where the linear branch writes it. The states between tiles are not kept for
the backward pass but computed again there, beside the gradient of softmax attention.
"""

from typing import Any

import torch
from torch import Tensor

from nas.kernels.chunk_softmax_attention import triton_op as softmax
from nas.kernels.gated_delta_rule import triton_launch, triton_launch_back
from nas.kernels.gated_delta_rule import triton_op as linear
from nas.kernels.gated_delta_rule.triton_launch import Saved
from nas.kernels.hybrid_attention.streams import Side
from nas.kernels.triton_operator import DifferentiableOperator, Operator
from nas.kernels.triton_support import dense, operand_dtype


def hybrid_attention(
    softmax_q: Tensor,
    softmax_k: Tensor,
    linear_q: Tensor,
    linear_k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    softmax_route: Tensor,
    linear_route: Tensor,
    chunk_size: int,
    full_route_grad: bool,
) -> tuple[Tensor, Tensor]:
    """Compute `nas.kernels.hybrid_attention` of valid arguments; returns the output of each branch.

    Numerics are as in the two operations, with the widest dtype of all of q, k and v, or autocast's.
    """
    dtype = operand_dtype(softmax_q, softmax_k, linear_q, linear_k, v)
    operands = (x.to(dtype) for x in (softmax_q, softmax_k, linear_q, linear_k, v))
    inputs = (*operands, g.float(), beta.float(), softmax_route, linear_route.float())
    save = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    o_softmax, o_linear, *_ = _forward(*inputs, chunk_size, full_route_grad, save)
    output = operand_dtype(v)
    return o_softmax.to(output), o_linear.to(output)


def _values(v: Tensor, q: Tensor) -> Tensor:
    """Split the channels of v [B, T, channels] over the heads of q: [B, T, H, V]."""
    return dense(v).unflatten(-1, (q.shape[2], -1))


def _scale(q: Tensor) -> float:
    return q.shape[-1] ** -0.5


def _run_forward(
    softmax_q: Tensor,
    softmax_k: Tensor,
    linear_q: Tensor,
    linear_k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    softmax_route: Tensor,
    linear_route: Tensor,
    chunk_size: int,
    full_route_grad: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    side = Side(v.device)
    with side.stream():
        o_linear, _, *saved = linear.run_forward(
            linear_q, linear_k, _values(v, linear_q), g, beta, linear_route, None,
            chunk_size, _scale(linear_q), full_route_grad, save, keep_states=False,
        )  # fmt: skip
    o_softmax, lse = softmax.run_forward(
        softmax_q, softmax_k, _values(v, softmax_q), softmax_route, chunk_size, _scale(softmax_q), full_route_grad
    )
    side.join(o_linear, *saved)
    return o_softmax, o_linear, lse, *saved  # type: ignore[return-value]


def _fake_forward(
    softmax_q: Tensor,
    softmax_k: Tensor,
    linear_q: Tensor,
    linear_k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    softmax_route: Tensor,
    linear_route: Tensor,
    chunk_size: int,
    full_route_grad: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    o_softmax, lse = softmax.fake_forward(
        softmax_q, softmax_k, _values(v, softmax_q), softmax_route, chunk_size, 1.0, full_route_grad
    )
    o_linear, _, *saved = linear.fake_forward(
        linear_q, linear_k, _values(v, linear_q), g, beta, linear_route, None,
        chunk_size, 1.0, full_route_grad, save, keep_states=False,
    )  # fmt: skip
    return o_softmax, o_linear, lse, *saved  # type: ignore[return-value]


def _run_backward(
    do_softmax: Tensor,
    do_linear: Tensor,
    softmax_q: Tensor,
    softmax_k: Tensor,
    linear_q: Tensor,
    linear_k: Tensor,
    v: Tensor,
    softmax_route: Tensor,
    linear_route: Tensor,
    o_softmax: Tensor,
    lse: Tensor,
    saved: list[Tensor],
    chunk_size: int,
    full_route_grad: bool,
    route_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients of all tensors in order; that of the softmax route is empty unless route_gradient."""
    values = _values(v, linear_q)
    do_linear, k, route = dense(do_linear), dense(linear_k), linear_route.contiguous()
    q, scale, side = dense(linear_q), _scale(linear_q), Side(v.device)
    with side.stream():
        kept = triton_launch.with_states(k, values, route, Saved(*saved), chunk_size)
        dstates, dr, _ = triton_launch_back.state_gradients(q, k, do_linear, route, kept, None, chunk_size, scale)
    gradients: list[Tensor] = []

    def differentiate(dv: Tensor) -> None:
        side.follow()
        with side.stream():
            of_linear = triton_launch_back.differentiate(
                q, k, values, route, kept, dstates, dr, do_linear, dv.view(values.shape), chunk_size, scale,
                full_route_grad,
            )  # fmt: skip
        gradients.extend(of_linear)

    softmax_dq, softmax_dk, dv, droute = softmax.differentiate(
        do_softmax, softmax_q, softmax_k, _values(v, softmax_q), softmax_route, o_softmax, lse,
        chunk_size, _scale(softmax_q), full_route_grad, route_gradient, differentiate,
    )  # fmt: skip
    side.join(*gradients)
    dq, dk, _, dg, dbeta, linear_droute = gradients
    return softmax_dq, softmax_dk, dq, dk, dv.view(v.shape), dg, dbeta, droute, linear_droute


def _fake_backward(
    do_softmax: Tensor,
    do_linear: Tensor,
    softmax_q: Tensor,
    softmax_k: Tensor,
    linear_q: Tensor,
    linear_k: Tensor,
    v: Tensor,
    softmax_route: Tensor,
    linear_route: Tensor,
    o_softmax: Tensor,
    lse: Tensor,
    saved: list[Tensor],
    chunk_size: int,
    full_route_grad: bool,
    route_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    gates = (linear_q.new_empty(linear_q.shape[:3], dtype=torch.float32) for _ in range(2))
    operands = (x.new_empty(x.shape) for x in (softmax_q, softmax_k, linear_q, linear_k, v))
    droute = softmax_route.new_empty(softmax_route.shape if route_gradient else 0)
    return *operands, *gates, droute, linear_route.new_empty(linear_route.shape, dtype=torch.float32)  # type: ignore[return-value]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.chunk_size, ctx.full_route_grad, _ = inputs
    del tensors[5:7]  # g and beta: ``saved`` holds them
    o_softmax, _, lse, *saved = output
    ctx.mark_non_differentiable(lse, *saved)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, o_softmax, lse, *saved)


def _differentiate(ctx: Any, do_softmax: Tensor | None, do_linear: Tensor | None, *_: None) -> tuple[Any, ...]:
    tensors, (o_softmax, lse, *saved) = ctx.saved_tensors[:7], ctx.saved_tensors[7:]
    softmax_q, _, linear_q, _, v, *_ = tensors
    do_softmax = torch.zeros_like(_values(v, softmax_q)) if do_softmax is None else do_softmax
    do_linear = torch.zeros_like(_values(v, linear_q)) if do_linear is None else do_linear
    route_gradient = ctx.needs_input_grad[7]
    gradients = _backward(
        do_softmax, do_linear, *tensors, o_softmax, lse, saved,
        ctx.chunk_size, ctx.full_route_grad, route_gradient,
    )  # fmt: skip
    *others, droute, linear_droute = gradients
    return *others, droute if route_gradient else None, linear_droute, None, None, None


_backward = Operator("hybrid_attention_backward", _run_backward, _fake_backward)
_forward = DifferentiableOperator("hybrid_attention", _run_forward, _fake_forward, _save, _differentiate)
