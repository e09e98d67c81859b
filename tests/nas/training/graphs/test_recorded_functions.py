"""Recorded functions: what they return, and the gradients of their inputs and of the parameters that they read.

A recording needs a GPU: on a CPU the passes compute again at each call.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from nas.models import recomputation
from nas.models.mixers import TokenMixer
from nas.models.recomputation import without_recomputing
from nas.training.graphs.recorded_functions import FunctionRecorder, Passes, Port, Reading
from tests.nas.architectures import small

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def recorded(function: Reading, given: Sequence[Tensor], into: Sequence[Port] | None = None) -> Passes:
    """Record a function on a GPU."""
    ports = [Port(x.detach().clone(), torch.zeros_like(x) if x.requires_grad else None) for x in given]
    passes = Passes(function, ports, into)
    if given[0].is_cuda:
        FunctionRecorder(given[0].device).record("y", passes, together=False)
    return passes


def call(passes: Passes, *given: Tensor) -> list[Port]:
    """Call a recorded function on new inputs; returns the ports of its outputs."""
    for port, x in zip(passes._given, given, strict=True):
        port.value.copy_(x.detach())
    passes.forward()
    assert passes.into is not None
    return list(passes.into)


def function_of(linear: nn.Linear) -> Reading:
    """Return a function to y = linear(x) * scale, the sum of indices, and y without a gradient."""

    def function(x: Tensor, scale: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
        y = linear(x) * scale
        return y, indices.sum(), y.detach()

    return Reading(function, [linear])


def inputs(device: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, scale = torch.randn(4, 3, generator=generator), torch.randn(2, generator=generator)
    leaves = [one.to(device).requires_grad_() for one in (x, scale)]
    return leaves[0], leaves[1], torch.arange(seed, seed + 3, device=device)


@pytest.mark.parametrize("device", DEVICES)
def test_a_recorded_function_gives_values_and_gradients_of_new_inputs(device: str) -> None:
    linear = nn.Linear(3, 2).to(device)
    passes = recorded(function_of(linear), inputs(device, 0))
    for seed in (1, 2):
        x, scale, indices = inputs(device, seed)
        expected = linear(x) * scale
        wanted = torch.autograd.grad(expected.square().sum(), [x, scale, *linear.parameters()])
        y, total, detached = call(passes, x, scale, indices)
        assert y.gradient is not None
        assert total.value == indices.sum()
        assert total.gradient is detached.gradient is None
        torch.testing.assert_close([y.value, detached.value], [expected, expected])
        y.gradient.copy_(2 * y.value)
        passes.backward()
        of_inputs = [port.gradient for port in passes._given[:2]]
        gradients = dict(passes.gradients())
        torch.testing.assert_close([*of_inputs, *(gradients[p] for p in linear.parameters())], list(wanted))


@pytest.mark.parametrize("device", DEVICES)
def test_functions_that_share_ports_form_a_chain(device: str) -> None:
    first, second = (nn.Linear(3, 3).to(device) for _ in range(2))
    middle, end = (Port(torch.zeros(4, 3, device=device), torch.ones(4, 3, device=device)) for _ in range(2))
    x = torch.randn(4, 3, device=device, requires_grad=True)
    one = recorded(Reading(lambda x: (first(x).relu(),), [first]), [x], [middle])
    call(one, x)
    other = Passes(Reading(lambda x: (second(x),), [second]), [middle], [end])
    if x.is_cuda:
        FunctionRecorder(x.device).record("z", other, together=True)
    for passes in (one, other):
        passes.forward()
    for passes in (other, one):
        passes.backward()
    expected = second(first(x).relu())
    torch.testing.assert_close(end.value, expected)
    wanted = torch.autograd.grad(expected.sum(), [x, *first.parameters(), *second.parameters()])
    found = [one._given[0].gradient, *(gradient for passes in (one, other) for _, gradient in passes.gradients())]
    torch.testing.assert_close(found, list(wanted))


def test_an_input_that_a_function_does_not_read_has_a_gradient_of_zero() -> None:
    x, y = Port(torch.ones(2), torch.ones(2)), Port(torch.ones(2), torch.ones(2))
    passes = Passes(Reading(lambda x, y: (2 * x,)), [x, y], [Port(torch.zeros(2), torch.ones(2))])
    passes.both()
    assert [port.gradient.tolist() for port in (x, y) if port.gradient is not None] == [[2, 2], [0, 0]]


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
    if device == "cpu":
        passes.both()
    assert again
    for x in (drawn(), drawn()):
        with without_recomputing():
            (expected,) = function(x)
        wanted = torch.autograd.grad(expected.square().sum(), [x, *mixer.parameters()])
        (y,) = call(passes, x)
        assert y.gradient is not None
        y.gradient.copy_(2 * y.value)
        passes.backward()
        gradients = dict(passes.gradients())
        mine = (y.value, passes._given[0].gradient, *(gradients[p] for p in mixer.parameters()))
        for own, right in zip(mine, (expected, *wanted), strict=True):
            assert own is not None
            assert (own - right).norm() <= 1e-3 * right.norm()
