"""The cost that routers answer for where layers are drawn uniformly, by hand."""

import pytest
import torch
from torch import Tensor

from nas.budget.cost import SpaceCost
from nas.models.mixers import Routing
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import Choices
from tests.nas.architectures import small

SOFTMAX, LINEAR, FINE, COARSE = (
    Layer("softmax", 4),
    Layer("linear", 4),
    Layer("token_hybrid", 4),
    Layer("token_hybrid", 8),
)


def made(*options: tuple[Layer, ...], resource: str = "softmax_share") -> tuple[Choices, SpaceCost]:
    mixers: tuple[str, ...] = ("linear",) * len(options)
    space = Space("toy", small(*mixers), options)
    return Choices(space), SpaceCost(resource, space, context=64)


def routed(share: Tensor, chunk_size: int = 4) -> Routing:
    """A router that keeps this share of every chunk, and where logits decide in the end keeps all of it."""
    weights = torch.stack([share, 1 - share]).expand(2, 3, 2, 2)
    return Routing(torch.tensor([1.0, 0.0]).expand(2, 3, 2, 2), weights, chunk_size)


def test_it_is_the_mean_over_the_architectures_whose_layers_route() -> None:
    choices, cost = made((SOFTMAX, LINEAR, FINE), (SOFTMAX, FINE, COARSE), resource="kv_bytes")
    choices.shares.copy_(torch.tensor([[1.0, 1.0, 0.3], [1.0, 0.5, 0.2]]))
    each = [choices.cost_of(cost, (2, option)) for option in (1, 2)]
    assert choices.routed_cost(cost, {}).item() == pytest.approx(sum(each) / 2)


def test_a_layer_without_a_router_counts_with_the_mean_of_its_options() -> None:
    choices, cost = made((SOFTMAX, LINEAR), (LINEAR, FINE))
    choices.shares.copy_(torch.tensor([[1.0, 1.0], [1.0, 0.4]]))
    assert choices.routed_cost(cost, {}).item() == pytest.approx((0.5 + 0.4) / 2)


def test_what_was_drawn_counts_as_it_is_and_the_rest_as_it_was() -> None:
    choices, cost = made((FINE, COARSE), (FINE, COARSE))
    choices.shares.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    found = choices.routed_cost(cost, {0: [routed(torch.tensor(0.9), 8)]})
    assert found.item() == pytest.approx(((0.1 + 1.0) / 2 + (0.3 + 0.4) / 2) / 2)
    assert choices.shares[0, 1].item() == pytest.approx(0.95 * 0.2 + 0.05 * 1.0), "and is noted"


def test_its_gradient_is_that_of_the_architecture_that_was_drawn() -> None:
    """However many options there are beside it: those that were not drawn weaken neither this nor the loss."""
    share = torch.tensor(0.6, requires_grad=True)
    choices, cost = made((SOFTMAX, LINEAR, FINE, COARSE), (SOFTMAX, LINEAR, FINE, COARSE))
    choices.routed_cost(cost, {1: [routed(share, 8)]}).backward()
    assert share.grad is not None
    assert share.grad.item() == pytest.approx(1 / 2), "one of two layers"
    assert all(logits.grad is None for logits in choices.logits.values())


def test_nothing_drawn_has_no_gradient() -> None:
    choices, cost = made((SOFTMAX, LINEAR, FINE))
    assert not choices.routed_cost(cost, {}).requires_grad
