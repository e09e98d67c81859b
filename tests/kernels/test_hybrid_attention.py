"""The fused call of both operations equals separate calls."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels import chunk_softmax_attention, gated_delta_rule, hybrid_attention
from tests.kernels.triton_cases import on_cpu

NAMES = ("softmax_q", "softmax_k", "linear_q", "linear_k", "v", "g", "beta", "softmax_route", "linear_route")


def make_inputs(
    batch: int, length: int, heads: int, key_dim: int, value_dim: int, chunk_size: int, **options: Any
) -> dict[str, Tensor]:
    """Return leaves for linear heads of these dims, twice as many softmax heads, and a routing head per linear head."""
    keys = heads * key_dim
    chunks = -(-length // chunk_size)

    def randn(*sizes: int) -> Tensor:
        return torch.randn(batch, length, *sizes, device=options.get("device"))

    route = (torch.rand(batch, chunks, heads, device=options.get("device")) < 0.4).float()
    route[0, :2, 0] = torch.tensor([0.0, 1.0])  # the linear branch skips a chunk with a state to decay before it
    inputs = {
        "softmax_q": randn(2 * heads, keys // heads // 2).to(**options),
        "softmax_k": randn(2 * heads, keys // heads // 2).to(**options),
        "linear_q": F.normalize(randn(heads, key_dim), dim=-1).to(**options),
        "linear_k": F.normalize(randn(heads, key_dim), dim=-1).to(**options),
        "v": randn(heads * value_dim).to(**options),
        "g": -0.1 * randn(heads).abs(),
        "beta": randn(heads).sigmoid(),
        "softmax_route": route,
        "linear_route": 1 - route,
    }
    return {name: x.detach().requires_grad_() for name, x in inputs.items()}


def one_by_one(x: dict[str, Tensor], chunk_size: int, **options: Any) -> tuple[Tensor, Tensor]:
    softmax_v = x["v"].unflatten(-1, (x["softmax_q"].shape[2], -1))
    linear_v = x["v"].unflatten(-1, (x["linear_q"].shape[2], -1))
    route_grad, impl = options.get("route_grad", "selected"), options.get("impl", "auto")
    softmax = chunk_softmax_attention(
        x["softmax_q"], x["softmax_k"], softmax_v, x["softmax_route"], chunk_size=chunk_size,
        route_grad=route_grad, impl=impl,
    )  # fmt: skip
    return softmax, gated_delta_rule(
        x["linear_q"], x["linear_k"], linear_v, x["g"], x["beta"], x["linear_route"], chunk_size=chunk_size, **options
    )


def results(outputs: tuple[Tensor, ...], inputs: dict[str, Tensor], cotangents: list[Tensor]) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(outputs, list(inputs.values()), cotangents)
    return dict(zip(NAMES, gradients, strict=True)) | dict(zip(("softmax", "linear"), outputs, strict=True))


@pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=on_cpu)])
@pytest.mark.parametrize("options", [{}, {"route_grad": "full"}], ids=["defaults", "full"])
def test_is_both_operations(impl: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if impl == "triton" and options:
        from tests.kernels.delta_cases import set_segments

        set_segments(monkeypatch, 1)
    inputs = make_inputs(2, 40, 2, 8, 16, chunk_size=16)
    expected = one_by_one(inputs, 16, impl=impl, **options)
    cotangents = [torch.randn_like(x) for x in expected]
    actual = hybrid_attention(*inputs.values(), chunk_size=16, impl=impl, **options)
    pairs = results(tuple(actual), inputs, cotangents), results(expected, inputs, cotangents)
    for name, tensor in pairs[1].items():
        torch.testing.assert_close(pairs[0][name], tensor, rtol=0, atol=1e-6, msg=name)


@on_cpu
def test_is_traced_whole() -> None:
    inputs = make_inputs(1, 20, 1, 8, 8, chunk_size=16)

    def both(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(hybrid_attention(*tensors, chunk_size=16, impl="triton"))

    compiled = torch.compile(both, backend="aot_eager", fullgraph=True)
    for a, b in zip(compiled(*inputs.values()), both(*inputs.values()), strict=True):
        torch.testing.assert_close(a, b)


@on_cpu
def test_is_a_well_formed_operator() -> None:
    from nas.kernels.hybrid_attention import triton_op

    inputs = make_inputs(1, 20, 1, 8, 8, chunk_size=16)
    options = (16, True)
    torch.library.opcheck(triton_op._forward.registered, (*inputs.values(), *options, True))
    o_softmax, o_linear, lse, *saved = triton_op._run_forward(*(x.detach() for x in inputs.values()), *options, True)
    tensors = [x.detach() for name, x in inputs.items() if name not in ("g", "beta")]
    gradients = torch.randn_like(o_softmax), torch.randn_like(o_linear)
    torch.library.opcheck(triton_op._backward.registered, (*gradients, *tensors, o_softmax, lse, saved, *options, True))


def test_wrong_argument_is_named() -> None:
    inputs = make_inputs(1, 40, 2, 8, 16, chunk_size=16)
    with pytest.raises(ValueError, match="route has shape"):
        hybrid_attention(*(inputs | {"linear_route": torch.ones(1, 2, 2)}).values(), chunk_size=16)


@pytest.mark.gpu
@pytest.mark.parametrize("batch", [1, 4, 32], ids=["segments", "a program each", "several each"])
def test_on_two_streams(batch: int) -> None:
    """Twenty repetitions equal the sequential result, while memory is reused."""
    inputs = make_inputs(batch, 4096, 6, 128, 256, chunk_size=64, device="cuda", dtype=torch.bfloat16)
    expected = one_by_one(inputs, 64)
    cotangents = [torch.randn_like(x) for x in expected]
    alone = results(expected, inputs, cotangents)
    for _ in range(20):
        got = results(tuple(hybrid_attention(*inputs.values())), inputs, cotangents)
        for name, tensor in alone.items():
            if name == "softmax_q":  # its parts are added in any order
                torch.testing.assert_close(got[name], tensor, rtol=2e-2, atol=1e-3)
            elif name == "v":  # one part of its sum is not rounded first
                torch.testing.assert_close(got[name], tensor, rtol=1e-2, atol=1e-2)
            else:
                assert torch.equal(got[name], tensor), name


@pytest.mark.gpu
def test_is_captured_and_replayed_with_other_routes() -> None:
    inputs = make_inputs(1, 4096, 6, 128, 256, chunk_size=64, device="cuda", dtype=torch.bfloat16)
    cotangents = [torch.randn_like(x) for x in one_by_one(inputs, 64)]

    def step() -> dict[str, Tensor]:
        return results(tuple(hybrid_attention(*inputs.values())), inputs, cotangents)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        route = (torch.rand_like(inputs["softmax_route"]) < 0.2).float()
        inputs["softmax_route"].copy_(route)
        inputs["linear_route"].copy_(1 - route)
    graph.replay()
    expected = step()
    for name in ("softmax", "linear", "linear_q", "v", "softmax_route", "linear_route"):
        torch.testing.assert_close(captured[name], expected[name], rtol=0, atol=0, msg=name)
