"""The routed gated delta rule against the oracle: values, gradients, states, low precision, extremes, causality."""

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels import gated_delta_rule
from nas.kernels.gated_delta_rule.reference import VANISHED
from tests.kernels import oracle
from tests.kernels.cases import (
    GRADCHECK_SHAPES,
    RESETS,
    ROUTES,
    SHAPES,
    Shape,
    assert_all_close,
    assert_close_in_low_precision,
    delta_inputs,
    mean_pool_route,
    results_and_gradients,
    strided,
    with_resets,
    with_strong_writes,
)

delta_rule: Any = functools.partial(gated_delta_rule, return_final_state=True, impl="reference")

# Chunks that are inverted by halves: twice, and once because the half is odd.
LARGE_CHUNKS = (Shape(T=150, chunk_size=128, B=1), Shape(T=150, chunk_size=70, B=1))


def cotangents_for(shape: Shape) -> list[Tensor]:
    """For the output and for the final state."""
    o = torch.randn(shape.B, shape.T, shape.H, shape.V, dtype=torch.float64)
    return [o, torch.randn(shape.B, shape.H, shape.K, shape.V, dtype=torch.float64)]


def test_write_strengths_over_one() -> None:
    for shape in (SHAPES[-1], *LARGE_CHUNKS):
        inputs, cotangents = with_strong_writes(delta_inputs(shape, "mixed")), cotangents_for(shape)
        operation, definition = (
            functools.partial(one, chunk_size=shape.chunk_size) for one in (delta_rule, oracle.gated_delta_rule)
        )
        results, gradients = results_and_gradients(operation, inputs, cotangents)
        expected, expected_gradients = results_and_gradients(definition, inputs, cotangents)
        assert_all_close(results, expected, atol=1e-10)
        assert_all_close(gradients | {"route": expected_gradients["route"]}, expected_gradients, atol=1e-10)


@pytest.mark.parametrize("route_grad", ["full", "selected"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_oracle(shape: Shape, route: str, route_grad: str) -> None:
    assert_matches_oracle(shape, route, route_grad)


@pytest.mark.parametrize("route", ["none", "mixed"])
@pytest.mark.parametrize("shape", LARGE_CHUNKS, ids=str)
def test_large_chunks_match_oracle(shape: Shape, route: str) -> None:
    assert_matches_oracle(shape, route, "full")


def assert_matches_oracle(shape: Shape, route: str, route_grad: str) -> None:
    inputs, cotangents = delta_inputs(shape, route), cotangents_for(shape)
    operation = functools.partial(delta_rule, chunk_size=shape.chunk_size, route_grad=route_grad)
    definition = functools.partial(oracle.gated_delta_rule, chunk_size=shape.chunk_size)
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    expected, expected_gradients = results_and_gradients(definition, inputs, cotangents)
    if route_grad == "selected" and "route" in inputs:
        skipped = inputs["route"] == 0
        expected_gradients["route"] = expected_gradients["route"].masked_fill(skipped, 0.0)
        assert (gradients["route"][skipped] == 0).all()
    assert_all_close(results, expected, atol=1e-10)
    assert_all_close(gradients, expected_gradients, atol=1e-10)


@pytest.mark.parametrize("shape", GRADCHECK_SHAPES, ids=str)
def test_gradcheck(shape: Shape) -> None:
    inputs = delta_inputs(shape, "fractional")

    def operation(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(inputs, tensors, strict=True))
        return delta_rule(**named, chunk_size=shape.chunk_size, route_grad="full")

    assert torch.autograd.gradcheck(operation, tuple(inputs.values()))


def test_defaults_are_selected_route_grad_decayed_and_no_state() -> None:
    shape = Shape(T=12, chunk_size=4)
    inputs = delta_inputs(shape, "hard")
    del inputs["initial_state"]
    o = functools.partial(delta_rule, return_final_state=False)(**inputs, chunk_size=4)
    assert isinstance(o, Tensor)
    zeros = torch.zeros(shape.B, shape.H, shape.K, shape.V, dtype=torch.float64)
    expected, _ = oracle.gated_delta_rule(**inputs, chunk_size=4, initial_state=zeros)
    torch.testing.assert_close(o, expected, rtol=0, atol=1e-10)
    (route_gradient,) = torch.autograd.grad(o.sum(), inputs["route"])
    assert (route_gradient[inputs["route"] == 0] == 0).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_route_equals_a_route_of_ones(shape: Shape) -> None:
    inputs, cotangents = delta_inputs(shape, "ones"), cotangents_for(shape)
    operation = functools.partial(delta_rule, chunk_size=shape.chunk_size)
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    del inputs["route"]
    without, without_gradients = results_and_gradients(operation, inputs, cotangents)
    assert_all_close(results, without, atol=1e-12)
    assert_all_close(gradients, without_gradients, atol=1e-12)


@pytest.mark.parametrize("route", ["none", "mixed"])
def test_scale_multiplies_the_output_alone(route: str) -> None:
    inputs = delta_inputs(Shape(T=14, chunk_size=4), route)
    o, state = delta_rule(**inputs, chunk_size=4, scale=1.0)
    scaled, scaled_state = delta_rule(**inputs, chunk_size=4, scale=0.3)
    torch.testing.assert_close(scaled, 0.3 * o, rtol=0, atol=1e-12)
    assert torch.equal(scaled_state, state)
    expected, _ = oracle.gated_delta_rule(**inputs, chunk_size=4, scale=0.3)
    torch.testing.assert_close(scaled, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("route", ["none", "hard", "fractional"])
@pytest.mark.parametrize("boundary", [1, 2, 3], ids="after_chunk_{}".format)
def test_passing_the_state_on_equals_the_whole(boundary: int, route: str) -> None:
    shape = Shape(T=14, chunk_size=4)
    inputs, cotangents = delta_inputs(shape, route), cotangents_for(shape)
    operation = functools.partial(delta_rule, chunk_size=4, route_grad="full")

    def in_two_parts(initial_state: Tensor, **tensors: Tensor) -> tuple[Tensor, Tensor]:
        at = {name: boundary if name == "route" else boundary * 4 for name in tensors}
        first, state = operation(**{n: x[:, : at[n]] for n, x in tensors.items()}, initial_state=initial_state)
        second, state = operation(**{n: x[:, at[n] :] for n, x in tensors.items()}, initial_state=state)
        return torch.cat([first, second], dim=1), state

    whole, whole_gradients = results_and_gradients(operation, inputs, cotangents)
    parts, parts_gradients = results_and_gradients(in_two_parts, inputs, cotangents)
    assert_all_close(parts, whole, atol=1e-12)
    assert_all_close(parts_gradients, whole_gradients, atol=1e-12)


def test_the_last_chunk_s_route_reaches_the_final_state_alone() -> None:
    inputs = delta_inputs(Shape(T=14, chunk_size=4), "fractional")
    o, state = delta_rule(**inputs, chunk_size=4, route_grad="full")
    (of_output,) = torch.autograd.grad(o.sum(), inputs["route"], retain_graph=True)
    (of_state,) = torch.autograd.grad(state.sum(), inputs["route"])
    assert (of_output[:, -1] == 0).all()
    assert (of_output[:, :-1] != 0).all()
    assert (of_state != 0).all()


def test_a_skipped_sequence_decays_its_initial_state() -> None:
    inputs = delta_inputs(Shape(T=14, chunk_size=4), "zeros")
    _, state = delta_rule(**inputs, chunk_size=4)
    decay = inputs["g"].sum(1).exp()[..., None, None]
    torch.testing.assert_close(state, decay * inputs["initial_state"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("route", ["none", "mixed"])
def test_memory_layout_does_not_matter(route: str) -> None:
    shape = Shape(T=14, chunk_size=4)
    inputs, cotangents = delta_inputs(shape, route), cotangents_for(shape)
    scattered = {name: strided(tensor) for name, tensor in inputs.items()}
    operation = functools.partial(delta_rule, chunk_size=4, route_grad="full")
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    scattered_results, scattered_gradients = results_and_gradients(
        operation, scattered, [strided(x) for x in cotangents]
    )
    assert_all_close(scattered_results, results, atol=1e-12)
    assert_all_close(scattered_gradients, gradients, atol=1e-12)


@pytest.mark.parametrize("route", ["none", "mixed"])
def test_backward_leaves_what_it_saved_as_it_was(route: str) -> None:
    inputs = delta_inputs(Shape(T=14, chunk_size=4), route)
    o, _ = delta_rule(**inputs, chunk_size=4, route_grad="full")
    first, second = (torch.autograd.grad(o.sum(), list(inputs.values()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("route", ["none", "mixed"])
def test_autocast_changes_nothing(route: str) -> None:
    """Where a trainer runs in mixed precision, the operation still computes in float32."""
    inputs = delta_inputs(Shape(T=14, chunk_size=4), route, torch.float32)
    o, _ = delta_rule(**inputs, chunk_size=4, route_grad="full")
    expected = torch.autograd.grad(o.square().sum(), list(inputs.values()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast_o, _ = delta_rule(**inputs, chunk_size=4, route_grad="full")
    gradients = torch.autograd.grad(cast_o.square().sum(), list(inputs.values()))
    assert torch.equal(cast_o, o)
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_backward_under_autocast_runs() -> None:
    inputs = delta_inputs(Shape(T=14, chunk_size=4), "mixed", torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o, _ = delta_rule(**inputs, chunk_size=4, route_grad="full")
        gradients = torch.autograd.grad(o.sum(), list(inputs.values()))
    assert all(gradient.isfinite().all() and gradient.dtype == torch.float32 for gradient in gradients)


def test_the_route_of_a_single_chunk_has_gradient_zero() -> None:
    """Zero, not missing: a router must be trainable on sequences shorter than a chunk."""
    inputs = delta_inputs(Shape(T=3, chunk_size=4), "fractional")
    o, _ = delta_rule(**inputs, chunk_size=4, route_grad="full")
    (gradient,) = torch.autograd.grad(o.sum(), inputs["route"])
    assert (gradient == 0).all()


@pytest.mark.parametrize("route", ["none", "hard", "fractional"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [Shape(T=14, chunk_size=4), Shape(T=150, chunk_size=16, B=1)], ids=str)
def test_low_precision(shape: Shape, dtype: torch.dtype, route: str) -> None:
    inputs = delta_inputs(shape, route, dtype)
    cotangents = [x.to(dtype) for x in cotangents_for(shape)]
    operation = functools.partial(delta_rule, chunk_size=shape.chunk_size, route_grad="full")
    definition = functools.partial(oracle.gated_delta_rule, chunk_size=shape.chunk_size)
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    exact, naive = (
        results_and_gradients(
            definition, {name: x.detach().to(to).requires_grad_() for name, x in inputs.items()}, cotangents
        )
        for to in (torch.float64, torch.float32)
    )
    assert results["o"].dtype == dtype
    assert results["final_state"].dtype == torch.float32
    assert_close_in_low_precision(results, exact[0], naive[0], dtype)
    assert_close_in_low_precision(gradients, exact[1], naive[1], dtype)


def test_output_has_the_dtype_of_v() -> None:
    inputs = delta_inputs(Shape(T=6, chunk_size=4), "hard", torch.bfloat16)
    inputs["v"] = inputs["v"].to(torch.float32)
    o, state = delta_rule(**inputs, chunk_size=4)
    assert o.dtype == torch.float32
    assert state.dtype == torch.float32


@pytest.mark.parametrize("route", ["none", "mixed"])
@pytest.mark.parametrize("chunk_size", [4, 64], ids="C{}".format)
@pytest.mark.parametrize("g", [-50.0, -1e4], ids="g={:g}".format)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_strong_decay(dtype: torch.dtype, g: float, chunk_size: int, route: str) -> None:
    """A decay that forgets everything: exp(-g) would overflow, and no product may become 0 * inf."""
    shape = Shape(T=70, chunk_size=chunk_size, B=1)
    inputs, cotangents = delta_inputs(shape, route, dtype), cotangents_for(shape)
    inputs["g"] = torch.full_like(inputs["g"], g).requires_grad_()
    operation = functools.partial(delta_rule, chunk_size=chunk_size, route_grad="full")
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    assert all(x.isfinite().all() for x in (*results.values(), *gradients.values()))
    expected, expected_gradients = results_and_gradients(
        functools.partial(oracle.gated_delta_rule, chunk_size=chunk_size), inputs, cotangents
    )
    atol = 1e3 * torch.finfo(dtype).eps
    assert_all_close(results, expected, atol)
    assert_all_close(gradients, expected_gradients, atol)


def test_a_reset_leaves_later_tokens_as_they_are() -> None:
    q = k = torch.ones(1, 3, 1, 1)
    v, beta = (torch.tensor(values).view(1, 3, 1, 1) for values in ([1.0, 2.0, 0.0], [1.0, 1.0, 0.0]))
    for reset in (-1e4, -1e9, -torch.inf):
        g = torch.tensor([0.0, reset, -1.0]).view(1, 3, 1).requires_grad_()
        o = gated_delta_rule(q, k, v, g, beta[..., 0], scale=1.0, impl="reference")
        torch.testing.assert_close(o.flatten(), torch.tensor([1.0, 2.0, 2 * math.exp(-1)]))
        (dg,) = torch.autograd.grad(o.sum(), g)
        torch.testing.assert_close(dg.flatten(), torch.tensor([0.0, 0.0, 2 * math.exp(-1)]))


@pytest.mark.parametrize("where", RESETS)
@pytest.mark.parametrize("reset", [-50.0, -100.5, -1e4, -1e9, -math.inf], ids="g={:g}".format)
@pytest.mark.parametrize(("length", "chunk_size"), [(64, 64), (150, 128)])
def test_resets_cost_no_precision(length: int, chunk_size: int, reset: float, where: str) -> None:
    shape = Shape(T=length, chunk_size=chunk_size, B=1)
    inputs, cotangents = with_resets(delta_inputs(shape, "mixed", torch.float32), where, reset), cotangents_for(shape)
    operation = functools.partial(delta_rule, chunk_size=chunk_size, route_grad="full")
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    expected, expected_gradients = results_and_gradients(
        functools.partial(oracle.gated_delta_rule, chunk_size=chunk_size),
        {n: x.detach().double().requires_grad_() for n, x in inputs.items()},
        cotangents,
    )
    assert_all_close(results, expected, atol=2e-5)
    assert_all_close(gradients, expected_gradients, atol=2e-5)
    assert (gradients["g"][inputs["g"] < VANISHED[torch.float32]] == 0).all()


@pytest.mark.parametrize(("length", "chunk_size"), [(7, 1), (8, 4), (10, 4), (5, 8)])
def test_no_output_depends_on_a_later_token(length: int, chunk_size: int) -> None:
    channels, heads, head_dim = 6, 2, 3
    weights = torch.randn(3, channels, heads, head_dim, dtype=torch.float64)
    gates = torch.randn(2, channels, heads, dtype=torch.float64)
    router = torch.randn(channels, heads, dtype=torch.float64)

    def layer(x: Tensor) -> Tensor:
        """[T, D] to [T]: projections, a router that looks at whole chunks, the delta rule, a sum over channels."""
        q, k, v = torch.einsum("td,pdhk->pthk", x, weights)[:, None].unbind()
        g, beta = torch.einsum("td,pdh->pth", x, gates)[:, None].unbind()
        route = mean_pool_route(x[None], router, chunk_size)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        o, _ = delta_rule(
            *(q, k, v, -F.softplus(g), beta.sigmoid(), route),
            chunk_size=chunk_size,
            route_grad="full",
        )
        return o.sum((0, 2, 3))

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
    assert (jacobian.diagonal() > 1e-6).all()
