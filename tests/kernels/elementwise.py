"""Helpers of the element-wise operations' tests."""

from typing import Any

import torch
from torch import Tensor

from tests.kernels.cases import Inputs, Operation, assert_close_in_low_precision, results_and_gradients

MODEL_BATCH, MODEL_LENGTH = 4, 8192
"""Batch and length at which the 340M model is timed."""


def leaf(*sizes: int, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    return torch.randn(sizes, device=device).to(dtype).requires_grad_()


def assert_kernels_are_right(operation: Operation, inputs: Inputs) -> None:
    """Compare Triton's output and all gradients with the reference in float64, from the same rounded inputs.

    The tolerance is that of `assert_close_in_low_precision`, with the reference in float32 as ``naive``.
    """
    dtype = next(iter(inputs.values())).dtype
    y = operation(**{name: x.detach().double() for name, x in inputs.items()}, impl="reference")
    cotangents = [torch.randn_like(y).to(dtype)]

    def by(impl: str, to: torch.dtype | None = None) -> tuple[Inputs, Inputs]:
        given = inputs if to is None else {name: x.detach().to(to).requires_grad_() for name, x in inputs.items()}
        return results_and_gradients(lambda **x: operation(**x, impl=impl), given, cotangents)

    actual, exact, naive = by("triton"), by("reference", torch.float64), by("reference", torch.float32)
    assert actual[0]["o"].dtype == dtype
    for name, x in inputs.items():
        assert actual[1][name].dtype == x.dtype
        assert actual[1][name].shape == x.shape
    for mine, right, simple in zip(actual, exact, naive, strict=True):
        assert_close_in_low_precision(mine, right, simple, dtype)


def assert_compiles(operation: Operation, inputs: Inputs) -> None:
    """Assert that the operation, traced as one graph, gives the same output and gradients, bit for bit."""

    def results(function: Any) -> list[Tensor]:
        torch._dynamo.reset()
        y = function(**inputs, impl="triton")
        return [y, *torch.autograd.grad(y.square().sum(), list(inputs.values()))]

    traced = torch.compile(operation, backend="aot_eager", fullgraph=True)
    for eager, compiled in zip(results(operation), results(traced), strict=True):
        assert torch.equal(eager, compiled)
