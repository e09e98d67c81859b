"""Recorded functions: what they return, and the gradients of their inputs and of the parameters that they read.

A recording needs a GPU: on a CPU the passes compute again at each call.
"""

import pytest
import torch
from torch import Tensor, nn

from nas.models import recomputation
from nas.models.mixers import TokenMixer
from nas.models.recomputation import without_recomputing
from nas.training.recorded_functions import FunctionRecorder, Passes, Reading, Values
from tests.nas.architectures import small

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def recorded(function: Reading, given: Values) -> Passes:
    """Record a function on a GPU."""
    if given[0].is_cuda:
        return FunctionRecorder(given[0].device).record("y", function, given)
    passes = Passes(function, given)
    passes.warm_up()
    return passes


def passes_of(linear: nn.Linear, given: Values) -> Passes:
    """Passes of a function that returns y = linear(x) * scale, the sum of indices, and y without a gradient."""

    def function(x: Tensor, scale: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
        y = linear(x) * scale
        return y, indices.sum(), y.detach()

    return recorded(Reading(function, [linear]), given)


def inputs(device: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, scale = torch.randn(4, 3, generator=generator), torch.randn(2, generator=generator)
    leaves = [one.to(device).requires_grad_() for one in (x, scale)]
    return leaves[0], leaves[1], torch.arange(seed, seed + 3, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_a_recorded_function_gives_values_and_gradients_of_new_inputs(device: str) -> None:
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


@pytest.mark.parametrize("device", DEVICES)
def test_results_that_are_computed_again_are_those_of_new_inputs(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded backward pass of a mixer computes convolutions and norms again."""
    monkeypatch.setattr(recomputation, "large_on_gpu", lambda x: True)
    again: list[int] = []
    result = recomputation._Call.result
    monkeypatch.setattr(recomputation._Call, "result", lambda *given: again.append(1) or result(*given))  # type: ignore[func-returns-value]
    torch.manual_seed(0)
    mixer = TokenMixer(small("token_hybrid", width=64, key_dim=32, value_dim=32, chunk_size=64), 0, "full").to(device)

    def function(x: Tensor) -> tuple[Tensor, ...]:
        return (mixer(x, lambda layer, logits: logits.softmax(-1))[0],)

    def drawn() -> Tensor:
        return torch.randn(2, 100, 64, device=device, requires_grad=True)

    passes = recorded(Reading(function, [mixer]), (drawn(),))
    assert again
    for x in (drawn(), drawn()):
        with without_recomputing():
            (expected,) = function(x)
        wanted = torch.autograd.grad(expected.square().sum(), [x, *mixer.parameters()])
        mixer.zero_grad()
        (y,) = passes(x)
        y.square().sum().backward()
        for own, right in zip((y, x.grad, *(p.grad for p in mixer.parameters())), (expected, *wanted), strict=True):
            assert own is not None
            assert (own - right).norm() <= 1e-3 * right.norm()
