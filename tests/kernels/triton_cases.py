"""Helpers of the Triton tests: exact results, tolerances of rounding, and tests on a GPU."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nas.kernels.machine import interpreting
from nas.kernels.self_test import CANCELLED, RoundedProducts
from tests.kernels.cases import Inputs, Operation, Shape, assert_all_close, make_route, results_and_gradients, strided

on_cpu = pytest.mark.skipif(not interpreting(), reason="needs Triton's interpreter")
CUDA = torch.device("cuda")

ATOL = 1e-5
"""Tolerance of float32 on interpreted shapes, for values up to 1; relative to the largest value if that is larger."""


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return {name: x.detach().to(dtype).requires_grad_() for name, x in inputs.items()}


def assert_close(actual: Inputs, expected: Inputs) -> None:
    for name, value in expected.items():
        assert_all_close({name: actual[name]}, {name: value}, atol=ATOL * max(1.0, value.abs().max().item()))


def exact_results(
    definition: Operation, inputs: Inputs, cotangents: list[Tensor], route_grad: str = "full"
) -> tuple[Inputs, Inputs]:
    """Return results and gradients of the definition in float64."""
    results, gradients = results_and_gradients(definition, cast(inputs, torch.float64), cotangents)
    if route_grad == "selected" and "route" in inputs:
        gradients["route"] = gradients["route"].masked_fill(inputs["route"] == 0, 0.0)
    return results, gradients


def assert_matches(
    operation: Any, definition: Operation, inputs: Inputs, cotangents: list[Tensor], route_grad: str = "full"
) -> None:
    """Compare the operation in float32 with the definition in float64."""
    operation = functools.partial(operation, route_grad=route_grad)
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    expected, expected_gradients = exact_results(definition, inputs, cotangents, route_grad)
    assert_close(results, expected)
    assert_close(gradients, expected_gradients)
    if route_grad == "selected" and "route" in inputs:
        assert (gradients["route"][inputs["route"] == 0] == 0).all()


def assert_as_exact_as_rounding_allows(
    operation: Operation,
    usual: Operation,
    definition: Operation,
    inputs: Inputs,
    cotangents: list[Tensor],
    measures: tuple[str, ...] = ("largest", "norm"),
    deviations: Inputs | None = None,
) -> None:
    """Largest error and norm of errors against float64: twice those of the usual way, plus an ulp (float32: 16).

    The usual way is ``usual`` with every product's operands rounded to the dtype of the inputs; ``definition`` must be
    exact in float64. Both run on the same rounded inputs as the operation.

    Args:
        deviations: by name, the standard deviation of what few roundings decide, so that the usual way's error may be
            small by chance: four of them are allowed as well.
    """
    results, gradients = results_and_gradients(operation, inputs, cotangents)
    with RoundedProducts(inputs["q"].dtype) as products:
        rounded = results_and_gradients(usual, inputs, cotangents)
    assert products.count > 0
    exact = exact_results(definition, inputs, cotangents)
    actual, naive, values = (a | b for a, b in ((results, gradients), rounded, exact))
    beyond = []
    for name, value in values.items():
        assert actual[name].isfinite().all(), f"{name} has values that are not finite"
        unit = torch.finfo(actual[name].dtype).eps * (16 if actual[name].dtype == torch.float32 else 1)
        error, allowance = (x[name].double() - value for x in (actual, naive))
        for measure in measures:
            size = {"largest": lambda x: x.abs().max().item(), "norm": lambda x: x.norm().item()}[measure]
            allowed = 2 * size(allowance) + unit * size(value) + CANCELLED
            if deviations and name in deviations:
                allowed += 4 * size(deviations[name])
            if size(error) > allowed:
                beyond.append(f"{name}: {measure} error {size(error):.1e}, allowed {allowed:.1e}, of {size(value):.1e}")
    assert not beyond, "; ".join(beyond)


def assert_layout_does_not_matter(operation: Operation, inputs: Inputs, cotangents: list[Tensor]) -> None:
    """The same results where q, k and v are parts of one tensor (rows dense), and where nothing is dense."""
    heads = [inputs[name].detach().transpose(1, 2) for name in "qkv"]
    parts = torch.cat(heads, dim=-1).transpose(1, 2).split([x.shape[-1] for x in heads], dim=-1)
    in_rows = inputs | {name: x.requires_grad_() for name, x in zip("qkv", parts, strict=True)}
    scattered = {name: strided(tensor) for name, tensor in inputs.items()}
    expected = results_and_gradients(operation, inputs, cotangents)
    for other in (in_rows, scattered):
        actual = results_and_gradients(operation, other, [strided(x) for x in cotangents])
        for actual_part, expected_part in zip(actual, expected, strict=True):
            assert_close(actual_part, expected_part)


def assert_compiles(operation: Operation, inputs: Inputs, cotangents: list[Tensor]) -> None:
    """Assert that the operation, traced as one graph, gives the same results and gradients, bit for bit."""
    torch._dynamo.reset()
    compiled = torch.compile(operation, backend="aot_eager", fullgraph=True)
    expected, actual = (results_and_gradients(x, inputs, cotangents) for x in (operation, compiled))
    for actual_part, expected_part in zip(actual, expected, strict=True):
        assert_all_close(actual_part, expected_part, atol=0)


def assert_backward_repeats(operation: Operation, inputs: Inputs) -> None:
    """Assert equal gradients, bit for bit, from a second backward pass and through activation checkpointing."""
    leaves = list(inputs.values())

    def gradients(o: Any, **options: bool) -> tuple[Tensor, ...]:
        return torch.autograd.grad(o.square().sum(), leaves, **options)

    o, again = operation(**inputs), checkpoint(operation, use_reentrant=False, **inputs)
    first = gradients(o, retain_graph=True)
    for others in (gradients(o), gradients(again)):
        assert all(torch.equal(a, b) for a, b in zip(first, others, strict=True))


# On a GPU


def require_memory(gibibytes: int) -> None:
    torch.cuda.empty_cache()
    if torch.cuda.mem_get_info()[0] < gibibytes * 2**30:
        pytest.skip(f"needs {gibibytes} GiB of free memory")


def on_gpu(
    make_inputs: Callable[[Shape, str], Inputs], shape: Shape, route: str, dtype: torch.dtype
) -> tuple[Inputs, list[Tensor]]:
    """Return inputs on the GPU, leaves in ``dtype``, and the output's cotangent."""
    with CUDA:
        inputs = cast(make_inputs(shape, route), dtype)
        return inputs, [torch.randn(shape.B, shape.T, shape.H, shape.V).to(dtype)]


def assert_graph_replays(
    operation: Operation, shape: Shape, inputs: Inputs, cotangents: list[Tensor], **tolerance: float
) -> None:
    """Assert that a CUDA graph of both passes, replayed with other routes in the same buffer, equals eager calls."""

    def step() -> list[Tensor]:
        results, gradients = results_and_gradients(operation, inputs, cotangents)
        return [*results.values(), *gradients.values()]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for kind in ("ones", "zeros", "mixed", "hard"):
        other = make_route(shape, kind)
        assert other is not None
        with torch.no_grad():
            inputs["route"].copy_(other)
        graph.replay()
        for actual, expected in zip(captured, step(), strict=True):
            assert actual.isfinite().all()
            torch.testing.assert_close(actual, expected, **tolerance)


def assert_runs_are_identical(
    operation: Operation, inputs: Inputs, cotangents: list[Tensor], except_for: tuple[str, ...] = ()
) -> None:
    """Assert that two runs give the same results and gradients, bit for bit, except the named gradients."""
    first, second = (results_and_gradients(operation, inputs, cotangents) for _ in range(2))
    for name, x in first[0].items():
        assert torch.equal(x, second[0][name]), name
    for name, x in first[1].items():
        assert x.isfinite().all(), name
        assert name in except_for or torch.equal(x, second[1][name]), name


def assert_never_waits(operation: Operation, inputs: Inputs) -> None:
    """Assert that neither pass makes the host wait for the GPU."""

    def step() -> tuple[Tensor, ...]:
        returned = operation(**inputs)
        results = returned if isinstance(returned, tuple) else (returned,)
        return torch.autograd.grad(results, list(inputs.values()), [torch.ones_like(x) for x in results])

    step()  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        gradients = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(x.isfinite().all() for x in gradients)
