"""Recorded functions: what they return, and the gradients of their inputs and of the parameters that they read.

A recording needs a GPU: on a CPU the passes compute again at each call.
"""

import pytest
import torch
from torch import Tensor, nn

from nas.training import recorded_functions
from nas.training.recorded_functions import FunctionRecorder, Passes, Reading, Values


def passes_of(linear: nn.Linear, given: Values) -> Passes:
    """Passes of a function that returns y = linear(x) * scale, the sum of indices, and y without a gradient."""

    def function(x: Tensor, scale: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
        y = linear(x) * scale
        return y, indices.sum(), y.detach()

    reading = Reading(function, [linear])
    if given[0].is_cuda:
        return FunctionRecorder(given[0].device).record("y", reading, given)
    passes = Passes(reading, given)
    passes.warm_up()
    return passes


def inputs(device: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, scale = torch.randn(4, 3, generator=generator), torch.randn(2, generator=generator)
    leaves = [one.to(device).requires_grad_() for one in (x, scale)]
    return leaves[0], leaves[1], torch.arange(seed, seed + 3, device=device)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_recorded_function_gives_values_and_gradients_of_new_inputs(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_functions, "FREE_MEMORY", 0.0)
    linear = nn.Linear(3, 2).to(device)
    passes = passes_of(linear, inputs(device, 0))
    for seed in (1, 2):
        x, scale, indices = inputs(device, seed)
        expected = linear(x) * scale
        wanted = torch.autograd.grad(expected.square().sum(), [x, scale, *linear.parameters()])
        linear.zero_grad()
        y, total, detached = passes(x, scale, indices)
        y.square().sum().backward()
        assert total == indices.sum()
        assert not total.requires_grad
        assert not detached.requires_grad
        torch.testing.assert_close(detached, expected.detach())
        torch.testing.assert_close([x.grad, scale.grad, *(p.grad for p in linear.parameters())], list(wanted))


def test_gradients_of_parameters_are_added_to_those_that_are_there() -> None:
    linear = nn.Linear(3, 2)
    x, scale, indices = inputs("cpu", 0)
    passes = passes_of(linear, (x, scale, indices))
    passes(x, scale, indices)[0].sum().backward()
    once = [p.grad.clone() for p in linear.parameters() if p.grad is not None]
    passes(x, scale, indices)[0].sum().backward()
    torch.testing.assert_close([p.grad for p in linear.parameters()], [2 * gradient for gradient in once])
