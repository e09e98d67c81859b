"""Policies: every chunk to one operation, at random, at fixed distances, as learnt."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from nas.data.seeding import generator
from nas.models.policies import at_random, at_threshold, drop_all, keep_all, learnt, policy_of, randomly, strided
from nas.models.routing import Policy
from tests.nas.architectures import small

N = 3
"""Chunks of a sequence."""


def test_always_gives_every_chunk_one_operation() -> None:
    logits = torch.randn(2, N, 2, 2)
    assert keep_all(0, logits).tolist() == torch.tensor([1.0, 0.0]).expand(2, N, 2, 2).tolist()
    assert drop_all(0, logits).tolist() == torch.tensor([0.0, 1.0]).expand(2, N, 2, 2).tolist()
    assert drop_all(0, logits.double()).dtype == torch.float64


def test_a_threshold_on_the_margin_decides_what_is_kept() -> None:
    margins = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    logits = torch.stack([margins, torch.zeros(4)], dim=-1)[None, :, None]
    for threshold, kept in ((0.0, [0, 1, 1, 1]), (0.5, [0, 0, 1, 1]), (-1.5, [1] * 4), (3.0, [0] * 4)):
        assert at_threshold(threshold)(0, logits)[0, :, 0, 0].tolist() == kept
    assert at_threshold(0.0)(0, logits).equal(learnt(0, logits))


def test_random_routing_has_the_share_of_each_layer_and_head() -> None:
    policy = at_random({0: [0.1, 0.7], 3: [0.0, 1.0]}, generator("test"))
    weights = {layer: policy(layer, torch.zeros(200, 50, 2, 2)) for layer in (0, 3)}
    for layer, expected in ((0, [0.1, 0.7]), (3, [0.0, 1.0])):
        assert (weights[layer].sum(-1) == 1).all()
        share = weights[layer][..., 0].mean((0, 1))
        torch.testing.assert_close(share, torch.tensor(expected), atol=0.02, rtol=0)


def test_random_routing_follows_its_generator_and_not_the_logits() -> None:
    first, second = (at_random({0: [0.5]}, generator("test"))(0, torch.randn(4, N, 1, 2)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.15, 0.25, 0.29, 1 / 3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("as_tensor", [False, True], ids=["number", "tensor"])
def test_strided_routing_keeps_chunks_at_fixed_distances(share: float, as_tensor: bool) -> None:
    exact = Fraction(share).limit_denominator(100)
    kept = [math.floor((n + 1) * exact) > math.floor(n * exact) for n in range(400)]
    weights = strided(torch.tensor(share) if as_tensor else share)(0, torch.randn(2, 400, 3, 2, dtype=torch.float64))
    assert weights.dtype == torch.float64
    assert torch.equal(weights.sum(-1), torch.ones(2, 400, 3, dtype=torch.float64))
    assert torch.equal(weights[..., 0] == 1, torch.tensor(kept)[None, :, None].expand(2, 400, 3))
    assert math.floor(400 * exact) == sum(kept)


@pytest.mark.parametrize("given", [randomly, strided])
def test_a_given_routing_reads_nothing_back(given: Callable[[Tensor], Policy]) -> None:
    with torch.device("meta"):
        assert given(torch.ones(()))(0, torch.zeros(2, 5, 2, 2)).is_meta


def test_the_policy_of_an_architecture_is_that_of_its_routers_or_the_given_one() -> None:
    logits = torch.randn(2, 20, 2, 2)
    assert policy_of(small()) is learnt
    by_stride = policy_of(small(given_routing="strided", given_share=0.25))(0, logits)
    assert by_stride[0, :, 0, 0].nonzero().flatten().tolist() == [3, 7, 11, 15, 19]
    assert policy_of(small(given_routing="strided", given_share=0.25), 0.5)(0, logits)[..., 0].mean() == 0.5
    by_chance = small(given_routing="random", given_share=0.25)
    first, second = (policy_of(by_chance, generator=generator("test"))(0, logits) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, randomly(0.25, generator("test"))(0, logits))


def test_the_learnt_routing_takes_the_larger_logit() -> None:
    logits = torch.tensor([[2.0, 1.0], [-1.0, 0.0]])
    assert learnt(0, logits).tolist() == [[1, 0], [0, 1]]
