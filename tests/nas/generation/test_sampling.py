"""Sampling: the distribution by its definition, and draws that depend on the sequence alone."""

import math

import pytest
import torch
from torch import Tensor

from nas.generation.sampling import BLOCK, Sampler, drawn, probabilities

WEIGHTS = (4.0, 1.0, 0.0, 2.0, 1.0, 8.0)
LOGITS = torch.tensor([WEIGHTS]).log()


def by_definition(temperature: float, top_p: float) -> list[float]:
    """The probabilities of `WEIGHTS`: the most probable tokens are added until they have at least ``top_p``."""
    powers = [weight ** (1 / temperature) for weight in WEIGHTS]
    each = [power / math.fsum(powers) for power in powers]
    kept: list[int] = []
    for token in sorted(range(len(each)), key=lambda token: -each[token]):
        if math.fsum(each[token] for token in kept) >= top_p:
            break
        kept.append(token)
    total = math.fsum(each[token] for token in kept)
    return [each[token] / total if token in kept else 0.0 for token in range(len(each))]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_p", [0.01, 0.4, 0.8, 0.9, 1.0])
def test_frequencies_are_those_of_the_definition(temperature: float, top_p: float) -> None:
    expected = torch.tensor(by_definition(temperature, top_p), dtype=torch.float64)
    found = probabilities(LOGITS, temperature, top_p)
    assert torch.allclose(found[0], expected, atol=1e-7)
    count = 100_000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count  # exact frequencies, without chance
    tokens = drawn(found.expand(count, -1), uniform)
    assert torch.allclose(tokens.bincount(minlength=len(WEIGHTS)).double() / count, expected, atol=2 / count)


def test_the_ends_of_the_unit_interval_select_tokens_that_can_occur() -> None:
    each = probabilities(torch.tensor([[-math.inf, 0.0, 1.0, -math.inf]]), 1.0, 1.0).expand(2, -1)
    assert drawn(each, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [1, 2]


def sampled(prompts: list[list[int]], seed: int = 0, count: int = 2 * BLOCK) -> Tensor:
    sampler = Sampler(prompts, 1.0, 1.0, seed)
    return torch.stack([sampler(torch.zeros(len(prompts), 1000)) for _ in range(count)], dim=1)


def test_draws_depend_on_seed_and_prompt_alone() -> None:
    alone, other = sampled([[1, 2]])[0], sampled([[3]])[0]
    together = sampled([[3], [1, 2], [1, 2]])
    assert together[1].equal(alone)
    assert together[0].equal(other)
    assert together[2].ne(alone).float().mean() > 0.9  # a second sample of the same prompt
    assert sampled([[1, 2]], seed=1)[0].ne(alone).float().mean() > 0.9
    assert alone[:BLOCK].ne(alone[BLOCK:]).float().mean() > 0.9
    assert sampled([[1, 2]], count=7)[0].equal(alone[:7])


def test_draws_of_a_sampler_are_uniform() -> None:
    counts = sampled([[token] for token in range(32)])
    expected = counts.numel() / 10
    chi_square = ((counts // 100).flatten().bincount(minlength=10) - expected).square().sum() / expected
    assert chi_square < 27.9  # exceeded once in a thousand seeds, and the seed is fixed


def test_a_temperature_of_0_selects_the_most_probable_token() -> None:
    assert Sampler([[1]], 0.0, 1.0, 0)(LOGITS).tolist() == [5]


@pytest.mark.gpu
def test_tokens_on_the_gpu_are_those_on_the_cpu() -> None:
    torch.manual_seed(0)
    logits, uniform = 4 * torch.randn(64, 16384), torch.rand(64, dtype=torch.float64)
    for top_p in (0.5, 1.0):
        expected = drawn(probabilities(logits, 0.8, top_p), uniform)
        found = drawn(probabilities(logits.cuda(), 0.8, top_p), uniform.cuda())
        assert found.cpu().equal(expected)
