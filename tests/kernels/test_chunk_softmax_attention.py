"""Routed softmax attention against the oracle: values, every gradient, low precision, extremes, causality."""

import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention
from nas.kernels.chunk_softmax_attention.reference import MIN_QUERY_BLOCK
from tests.kernels import oracle
from tests.kernels.cases import (
    GRADCHECK_SHAPES,
    ROUTES,
    SHAPES,
    Shape,
    assert_all_close,
    assert_close_in_low_precision,
    mean_pool_route,
    results_and_gradients,
    softmax_inputs,
    strided,
    with_tiny_route,
)

attention: Any = functools.partial(chunk_softmax_attention, impl="reference")
# Ragged, with several query blocks: a chunk that divides the block, one that does not, one that exceeds it.
LONG_SHAPES = (
    Shape(T=2 * MIN_QUERY_BLOCK + 22, chunk_size=8, B=1),
    Shape(T=2 * MIN_QUERY_BLOCK + 22, chunk_size=24, B=1),
    Shape(T=MIN_QUERY_BLOCK + 81, chunk_size=MIN_QUERY_BLOCK + 6, B=1),
)


def cotangents_for(shape: Shape) -> list[Tensor]:
    return [torch.randn(shape.B, shape.T, shape.H, shape.V, dtype=torch.float64)]


@pytest.mark.parametrize("route_grad", ["full", "selected"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_oracle(shape: Shape, route: str, route_grad: str) -> None:
    assert_matches_oracle(shape, route, route_grad)


@pytest.mark.parametrize("route_grad", ["full", "selected"])
@pytest.mark.parametrize("shape", LONG_SHAPES, ids=str)
def test_matches_oracle_over_several_query_blocks(shape: Shape, route_grad: str) -> None:
    assert_matches_oracle(shape, "mixed", route_grad)


def assert_matches_oracle(shape: Shape, route: str, route_grad: str) -> None:
    inputs, cotangents = softmax_inputs(shape, route), cotangents_for(shape)
    operation = functools.partial(attention, chunk_size=shape.chunk_size, route_grad=route_grad)
    definition = functools.partial(oracle.chunk_softmax_attention, chunk_size=shape.chunk_size)
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    expected, expected_gradients = results_and_gradients(definition, inputs, cotangents)
    if route_grad == "selected" and "route" in inputs:
        skipped = inputs["route"] == 0
        expected_gradients["route"] = expected_gradients["route"].masked_fill(skipped, 0.0)
        assert (gradients["route"][skipped] == 0).all()
    assert_all_close(results, expected, atol=1e-10)
    assert_all_close(gradients, expected_gradients, atol=1e-10)


@pytest.mark.parametrize("scale", [None, 0.7], ids=lambda scale: f"scale={scale}")
@pytest.mark.parametrize("shape", GRADCHECK_SHAPES, ids=str)
def test_gradcheck(shape: Shape, scale: float | None) -> None:
    inputs = softmax_inputs(shape, "fractional")

    def operation(*tensors: Tensor) -> Tensor:
        return attention(*tensors, chunk_size=shape.chunk_size, scale=scale, route_grad="full")

    assert torch.autograd.gradcheck(operation, tuple(inputs.values()))


def test_gradcheck_over_several_query_blocks() -> None:
    shape = Shape(T=MIN_QUERY_BLOCK + 7, chunk_size=20, B=1, H=1, K=2, V=2)
    inputs = softmax_inputs(shape, "fractional")

    def operation(*tensors: Tensor) -> Tensor:
        return attention(*tensors, chunk_size=shape.chunk_size, route_grad="full")

    assert torch.autograd.gradcheck(operation, tuple(inputs.values()))


def test_selected_is_the_default_route_grad() -> None:
    shape = Shape(T=12, chunk_size=4)
    inputs, cotangents = softmax_inputs(shape, "hard"), cotangents_for(shape)
    _, default = results_and_gradients(functools.partial(attention, chunk_size=4), inputs, cotangents)
    assert (default["route"][inputs["route"] == 0] == 0).all()


@pytest.mark.parametrize("shape", [*SHAPES, LONG_SHAPES[0]], ids=str)
def test_no_route_equals_a_route_of_ones(shape: Shape) -> None:
    inputs, cotangents = softmax_inputs(shape, "ones"), cotangents_for(shape)
    operation = functools.partial(attention, chunk_size=shape.chunk_size)
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    del inputs["route"]
    without, without_gradients = results_and_gradients(operation, inputs, cotangents)
    assert_all_close(results, without, atol=1e-12)
    assert_all_close(gradients, without_gradients, atol=1e-12)


@pytest.mark.parametrize("route", ["none", "mixed"])
def test_scale_multiplies_the_scores(route: str) -> None:
    shape = Shape(T=14, chunk_size=4)
    inputs = softmax_inputs(shape, route)
    actual = attention(**inputs, chunk_size=4, scale=0.3)
    expected = oracle.chunk_softmax_attention(**inputs, chunk_size=4, scale=0.3)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("route", ["none", "mixed"])
@pytest.mark.parametrize("shape", [Shape(T=14, chunk_size=4), LONG_SHAPES[1]], ids=str)
def test_memory_layout_does_not_matter(shape: Shape, route: str) -> None:
    inputs, cotangents = softmax_inputs(shape, route), cotangents_for(shape)
    scattered = {name: strided(tensor) for name, tensor in inputs.items()}
    operation = functools.partial(attention, chunk_size=shape.chunk_size, route_grad="full")
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    scattered_results, scattered_gradients = results_and_gradients(operation, scattered, [strided(cotangents[0])])
    assert_all_close(scattered_results, results, atol=1e-12)
    assert_all_close(scattered_gradients, gradients, atol=1e-12)


@pytest.mark.parametrize("route", ["none", "mixed"])
def test_backward_leaves_what_it_saved_as_it_was(route: str) -> None:
    inputs = softmax_inputs(Shape(T=14, chunk_size=4), route)
    o = attention(**inputs, chunk_size=4, route_grad="full")
    first, second = (torch.autograd.grad(o.sum(), list(inputs.values()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("route", ["none", "mixed"])
def test_autocast_changes_nothing(route: str) -> None:
    """In mixed-precision training, the operation still computes in float32."""
    inputs = softmax_inputs(Shape(T=14, chunk_size=4), route, torch.float32)
    o = attention(**inputs, chunk_size=4, route_grad="full")
    expected = torch.autograd.grad(o.square().sum(), list(inputs.values()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast_o = attention(**inputs, chunk_size=4, route_grad="full")
    gradients = torch.autograd.grad(cast_o.square().sum(), list(inputs.values()))
    assert torch.equal(cast_o, o)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_backward_under_autocast_runs() -> None:
    inputs = softmax_inputs(Shape(T=14, chunk_size=4), "mixed", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o = attention(**inputs, chunk_size=4, route_grad="full")
        gradients = torch.autograd.grad(o.sum(), list(inputs.values()))
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)


def test_the_route_of_a_single_chunk_has_gradient_zero() -> None:
    """Zero, not missing: a router must be trainable on sequences shorter than a chunk."""
    inputs = softmax_inputs(Shape(T=3, chunk_size=4), "fractional")
    o = attention(**inputs, chunk_size=4, route_grad="full")
    (gradient,) = torch.autograd.grad(o.sum(), inputs["route"])
    assert (gradient == 0).all()


@pytest.mark.parametrize("route", ["none", "hard", "fractional"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [Shape(T=14, chunk_size=4), LONG_SHAPES[0]], ids=str)
def test_low_precision(shape: Shape, dtype: torch.dtype, route: str) -> None:
    inputs = softmax_inputs(shape, route, dtype)
    cotangents = [cotangents_for(shape)[0].to(dtype)]
    operation = functools.partial(attention, chunk_size=shape.chunk_size, route_grad="full")
    definition = functools.partial(oracle.chunk_softmax_attention, chunk_size=shape.chunk_size)
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    exact, naive = (
        results_and_gradients(
            definition, {name: x.detach().to(to).requires_grad_() for name, x in inputs.items()}, cotangents
        )
        for to in (torch.float64, torch.float32)
    )
    assert results["o"].dtype == dtype
    assert_close_in_low_precision(results, exact[0], naive[0], dtype)
    assert_close_in_low_precision(gradients, exact[1], naive[1], dtype)


def test_output_has_the_dtype_of_v() -> None:
    q, k = (torch.randn(1, 6, 2, 4, dtype=torch.bfloat16) for _ in range(2))
    v, route = torch.randn(1, 6, 2, 4), torch.ones(1, 2, 2)
    assert attention(q, k, v, route, chunk_size=4).dtype == v.dtype
    assert attention(q, k, v, chunk_size=4).dtype == v.dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("peak", [1e2, 1e4, 1e30], ids="peak={:.0e}".format)
@pytest.mark.parametrize("route_grad", ["full", "selected"])
@pytest.mark.parametrize("length", [14, 2 * MIN_QUERY_BLOCK + 22], ids="T{}".format)
def test_skipped_chunk_with_far_larger_scores(length: int, route_grad: str, peak: float, dtype: torch.dtype) -> None:
    """Later queries ignore the skipped chunk, however large its scores."""
    first = 4  # tokens of the chunk that is skipped
    shape = Shape(T=length, chunk_size=first, B=1)
    inputs = {name: x.detach() for name, x in softmax_inputs(shape, "fractional", dtype).items()}
    inputs["q"][..., 0] = 1.0
    inputs["k"][:, :first, :, 0] = peak
    inputs["route"][:, 0] = 0.0
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    o = attention(**leaves, chunk_size=first, route_grad=route_grad)
    gradients = torch.autograd.grad(o[:, first:].sum(), list(leaves.values()))
    assert all(gradient.isfinite().all() for gradient in (o, *gradients))

    starts = {"q": first, "k": first, "v": first, "route": 1}
    later = {name: x.detach()[:, starts[name] :].requires_grad_() for name, x in leaves.items()}
    o_later = attention(**later, chunk_size=first, route_grad=route_grad)
    gradients_later = torch.autograd.grad(o_later.sum(), list(later.values()))
    atol = 1e3 * torch.finfo(dtype).eps
    torch.testing.assert_close(o[:, first:], o_later, rtol=0, atol=atol)
    for name, gradient, expected in zip(later, gradients, gradients_later, strict=True):
        torch.testing.assert_close(gradient[:, starts[name] :], expected, rtol=0, atol=atol)
    for gradient in gradients[1:3]:
        assert (gradient[:, :first] == 0).all()


@pytest.mark.parametrize("route", [1e-10, 1e-25, 1e-37])
@pytest.mark.parametrize("length", [14, 2 * MIN_QUERY_BLOCK + 22], ids="T{}".format)
def test_a_tiny_route_of_a_chunk_with_large_scores(length: int, route: float) -> None:
    shape = Shape(T=length, chunk_size=4, B=1)
    inputs = with_tiny_route(softmax_inputs(shape, "fractional", torch.float32), 4, route, scale=0.5)
    options = {"chunk_size": 4, "scale": 0.5}
    operation = functools.partial(attention, **options, route_grad="full")
    definition = functools.partial(oracle.chunk_softmax_attention, **options)
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    cotangents = cotangents_for(shape)
    found = results_and_gradients(operation, inputs, cotangents)
    for actual, expected in zip(found, results_and_gradients(definition, exact, cotangents), strict=True):
        for name, value in expected.items():
            torch.testing.assert_close(actual[name].double(), value, rtol=1e-3, atol=1e-4, msg=name)


def test_a_route_that_is_no_normal_number_counts_as_zero() -> None:
    shape = Shape(T=14, chunk_size=4, B=1)
    inputs, cotangents = softmax_inputs(shape, "fractional", torch.float32), cotangents_for(shape)
    operation = functools.partial(attention, chunk_size=4, scale=0.5, route_grad="full")
    tiny, zero = (
        results_and_gradients(operation, with_tiny_route(inputs, 4, route, 0.5), cotangents) for route in (1e-39, 0.0)
    )
    for actual, expected in zip(tiny, zero, strict=True):
        assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize("route", ["none", "ones", "fractional"])
@pytest.mark.parametrize("route_grad", ["full", "selected"])
def test_scores_far_apart(route_grad: str, route: str) -> None:
    """With scores of thousands in visible chunks the softmax is one-hot and nothing overflows."""
    inputs = softmax_inputs(Shape(T=14, chunk_size=4), route, torch.float32)
    inputs["q"] = (1e3 * inputs["q"]).detach().requires_grad_()
    o = attention(**inputs, chunk_size=4, route_grad=route_grad)
    gradients = torch.autograd.grad(o.sum(), list(inputs.values()))
    assert all(x.isfinite().all() for x in (o, *gradients))
    torch.testing.assert_close(o, oracle.chunk_softmax_attention(**inputs, chunk_size=4), rtol=0, atol=1e-2)


@pytest.mark.parametrize(("length", "chunk_size"), [(7, 1), (8, 4), (10, 4), (5, 8)])
def test_no_output_depends_on_a_later_token(length: int, chunk_size: int) -> None:
    channels, heads, head_dim = 6, 2, 3
    weights = torch.randn(3, channels, heads, head_dim, dtype=torch.float64)
    router = torch.randn(channels, heads, dtype=torch.float64)

    def layer(x: Tensor) -> Tensor:
        """Map [T, D] to [T]: projections, a router that sees whole chunks, attention, a sum over channels."""
        q, k, v = torch.einsum("td,pdhk->pthk", x, weights)[:, None].unbind()
        route = mean_pool_route(x[None], router, chunk_size)
        return attention(q, k, v, route, chunk_size=chunk_size, route_grad="full").sum((0, 2, 3))

    x = torch.randn(length, channels, dtype=torch.float64)
    before = layer(x)
    for t in range(length):
        changed = x.clone()
        changed[t] += torch.randn(channels, dtype=torch.float64)
        moved = (layer(changed) - before).abs()
        assert (moved[:t] < 1e-12).all(), f"token {t} moved an earlier output"
        assert moved[t] > 1e-6
    jacobian = torch.autograd.functional.jacobian(layer, x).norm(dim=-1)  # [output, token]
    assert isinstance(jacobian, Tensor)
    assert (jacobian.triu(1) < 1e-12).all()
    assert (jacobian.tril() > math.ulp(1.0))[torch.ones_like(jacobian, dtype=torch.bool).tril()].all()
