"""Relaxations: one-hot forwards, a softmax's gradient backwards, and the right distribution."""

import pytest
import torch
from torch import Tensor

from nas.relaxations import (
    RELAXATIONS,
    SAMPLED,
    argmax_ste,
    darts,
    drnas,
    gdas,
    gumbel,
    interpolate,
    keep_at_random,
    uniform,
)

HARD = ["argmax_ste", "gumbel", "gdas", "uniform"]
SOFT = ["darts", "drnas"]


def test_every_relaxation_is_tested() -> None:
    assert set(HARD) | set(SOFT) == set(RELAXATIONS)
    assert set(SAMPLED) <= set(HARD)


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_weights_are_exactly_one_hot(name: str, temperature: float, dtype: torch.dtype) -> None:
    logits = (4 * torch.randn(500, 3)).to(dtype)
    weights = RELAXATIONS[name](logits, temperature)
    assert weights.dtype == dtype
    assert weights.shape == logits.shape
    assert ((weights == 0) | (weights == 1)).all()
    assert (weights.sum(-1) == 1).all()


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_mixtures_are_positive_and_sum_to_one(name: str, dtype: torch.dtype) -> None:
    logits = (4 * torch.randn(500, 3)).to(dtype)
    weights = RELAXATIONS[name](logits, 0.5)
    assert weights.dtype == dtype
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(500, dtype=dtype), rtol=0, atol=torch.finfo(dtype).eps * 4)


def test_darts_is_a_softmax_that_hardens() -> None:
    logits = torch.tensor([0.0, 1.0, 0.5])
    assert torch.equal(darts(logits, 1.0), logits.softmax(-1))
    assert darts(logits, 0.01).max() > 0.999


def test_gdas_gives_the_sampled_operation_alone_the_gradient_of_its_soft_weight() -> None:
    logits = torch.zeros(2000, 3, dtype=torch.float64, requires_grad=True)
    weights = gdas(logits, 1.0)
    for option in range(3):
        (others,) = torch.autograd.grad(weights[weights[:, option] == 0, option].sum(), logits, retain_graph=True)
        assert not others.any(), "what was not drawn hands nothing on"
        (drawn,) = torch.autograd.grad(weights[weights[:, option] == 1, option].sum(), logits, retain_graph=True)
        assert (drawn[weights[:, option] == 1, option] > 0).all()


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_gdas_draws_each_operation_as_often_as_softmax_says(temperature: float) -> None:
    logits, drawn = torch.tensor([0.0, 1.0, -1.5]), 40_000
    expected = logits.softmax(-1)
    often = gdas(logits.expand(drawn, 3), temperature).mean(0)
    assert (often - expected).abs().max() < 4 * (expected * (1 - expected) / drawn).sqrt().max()


def test_drnas_has_the_mean_of_its_dirichlet_distribution_and_its_gradient() -> None:
    logits = torch.tensor([0.0, 1.0, -1.5], dtype=torch.float64, requires_grad=True)
    concentration = torch.where(logits > 0, logits + 1, logits.exp())
    mean, drawn = concentration / concentration.sum(), 100_000
    sampled = drnas(logits.expand(drawn, 3), 1.0).mean(0)
    assert (sampled - mean).abs().max() < 0.01
    cotangent = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (expected,) = torch.autograd.grad(mean, logits, cotangent)
    (actual,) = torch.autograd.grad(sampled, logits, cotangent)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.02)


def test_uniform_draws_all_as_often_whatever_the_logits() -> None:
    logits, drawn = torch.tensor([50.0, 0.0, -50.0], requires_grad=True), 30_000
    weights = uniform(logits.expand(drawn, 3), 1.0)
    assert (weights.mean(0) - 1 / 3).abs().max() < 4 * (2 / 9 / drawn) ** 0.5
    assert not weights.requires_grad


def test_argmax_takes_the_largest_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 0.0], [-torch.inf, 0.0, 0.0]])
    assert argmax_ste(logits, 0.7).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_gradient_of_argmax_is_that_of_softmax(temperature: float) -> None:
    logits = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(20, 3, dtype=torch.float64)
    (expected,) = torch.autograd.grad((logits / temperature).softmax(-1), logits, cotangent)
    (actual,) = torch.autograd.grad(argmax_ste(logits, temperature), logits, cotangent)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_gumbel_is_that_of_softmax_at_the_same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randn(20, 3, dtype=torch.float64)
    logits = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(20, 3, dtype=torch.float64)
    monkeypatch.setattr(Tensor, "exponential_", lambda self: self.copy_((-noise).exp()))  # -log of it is the noise
    (expected,) = torch.autograd.grad(((logits + noise) / 0.6).softmax(-1), logits, cotangent)
    weights = gumbel(logits, 0.6)
    (actual,) = torch.autograd.grad(weights, logits, cotangent)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    assert torch.equal(weights.argmax(-1), (logits + noise).argmax(-1))


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_gumbel_samples_each_operation_as_often_as_softmax_says(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, -1.5])
    drawn = 40_000
    often = gumbel(logits.expand(drawn, 3), temperature).mean(0)
    expected = logits.softmax(-1)
    assert (often - expected).abs().max() < 4 * (expected * (1 - expected) / drawn).sqrt().max()


def test_gumbel_follows_the_seed() -> None:
    logits = torch.zeros(100, 2)
    drawn = [(torch.manual_seed(seed), gumbel(logits, 1.0))[1] for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_temperature_moves_geometrically() -> None:
    assert interpolate(2.0, 0.5, 0.0) == 2.0
    assert interpolate(2.0, 0.5, 0.5) == pytest.approx(1.0)
    assert interpolate(2.0, 0.5, 1.0) == pytest.approx(0.5)


def test_chunks_are_kept_at_random_with_the_gradient_of_their_weights() -> None:
    logits = torch.tensor([-2.0, 2.0]).expand(4000, 2).clone().requires_grad_()
    weights = keep_at_random(argmax_ste(logits, 1.0), torch.tensor(0.25))
    kept = weights[:, 0]
    assert set(kept.tolist()) == {0.0, 1.0}
    assert kept.mean().item() == pytest.approx(0.25, abs=0.03)
    kept.sum().backward()
    assert logits.grad is not None
    assert logits.grad.unique(dim=0).shape == (1, 2)
    assert logits.grad[0, 0] > 0
    assert torch.equal(keep_at_random(weights, 0.0), weights)
