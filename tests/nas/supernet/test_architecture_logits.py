"""Architecture logits: which options a step computes, what the logits learn, and the architecture they select."""

import pytest
import torch
from torch import Tensor

from nas.budget.cost import SOFTMAX_SHARE, SpaceCost
from nas.models.routing import FIRST_OPTION, Routing
from nas.relaxations import RELAXATIONS, SAMPLED, UNLEARNT
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space
from nas.supernet.architecture_logits import RUNNING, TOLERANCE, ArchitectureLogits
from tests.nas.architectures import small
from tests.nas.budget.test_cost import SPACES

OPTIONS = (Layer("softmax", 4), Layer("linear", 4), Layer("token_hybrid", 4))


def three_layers() -> Space:
    """The middle layer has nothing to choose."""
    return Space("test", small("softmax", "linear", "softmax"), (OPTIONS, (Layer("linear", 4),), OPTIONS))


def cost(space: Space) -> SpaceCost:
    return SpaceCost(SOFTMAX_SHARE, space, context=100)


def leaning(space: Space, **logits: list[float]) -> ArchitectureLogits:
    """Architecture logits with the given values, by layer: layer_0=..."""
    architecture_logits = ArchitectureLogits(space)
    with torch.no_grad():
        for name, values in logits.items():
            architecture_logits.logits[name.removeprefix("layer_")].copy_(torch.tensor(values))
    return architecture_logits


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_sampled_options_are_computed_alone_and_others_in_a_mixture(relaxation: str) -> None:
    layer_choices = ArchitectureLogits(three_layers()).layer_choices(relaxation, 1.0)
    assert layer_choices[1] == FIRST_OPTION
    for choice in (layer_choices[0], layer_choices[2]):
        if relaxation in UNLEARNT:
            assert choice.option in (0, 1, 2)
            assert choice.weights is None, "a weight of 1 without a gradient"
            continue
        assert choice.weights is not None
        if relaxation in SAMPLED:
            assert choice.option in (0, 1, 2)
            assert choice.weights.shape == ()
            assert choice.weights == 1
        else:
            assert choice.option is None
            torch.testing.assert_close(choice.weights.sum(), torch.tensor(1.0))


def test_the_expected_cost_is_differentiable_in_logits_and_routes() -> None:
    architecture_logits = ArchitectureLogits(three_layers())
    route = torch.full((1, 5, 2), 0.2, requires_grad=True)
    decided = Routing(torch.zeros(1, 5, 2, 2), torch.stack([route, 1 - route], -1), 4)
    expected = architecture_logits.cost(cost(three_layers()), architecture_logits.measured({0: [decided]}), hard=False)
    assert expected.item() == pytest.approx((1 / 3 * (1 + 0 + 0.2) + 1 / 3 * (1 + 0 + 1)) / 2)
    expected.backward()
    assert route.grad is not None
    torch.testing.assert_close(route.grad, torch.full_like(route, 1 / 3 / 10 / 2))
    gradient = architecture_logits.logits["0"].grad
    assert gradient is not None
    assert gradient[0] > 0 > gradient[1], "softmax costs, linear does not"


def test_shares_that_were_seen_are_remembered() -> None:
    architecture_logits = ArchitectureLogits(three_layers())
    linear = torch.tensor([0.0, 1.0]).expand(1, 5, 2, 2)
    architecture_logits.cost(cost(three_layers()), architecture_logits.measured({2: [Routing(linear, linear, 4)]}))
    assert architecture_logits.shares[2, 2] == pytest.approx(RUNNING)
    assert architecture_logits.shares[0, 2] == 1


def test_the_most_probable_architecture_within_the_budget_is_found() -> None:
    space = three_layers()
    architecture_logits = leaning(space, layer_0=[3.0, 0.0, -5.0], layer_2=[2.0, 0.0, -5.0])
    for target, mixers in (
        (1.0, ("softmax", "linear", "softmax")),
        (0.5, ("softmax", "linear", "linear")),
        (0.4, ("linear", "linear", "linear")),
        (0.5 - TOLERANCE / 2, ("linear", "linear", "linear")),  # costs without a router are exact: none may exceed it
    ):
        assert space.decode(architecture_logits.best(cost(space), target)).mixers == mixers


def test_a_router_that_seldom_picks_softmax_fits_where_a_layer_of_softmax_does_not() -> None:
    space = three_layers()
    architecture_logits = leaning(space, layer_0=[1.0, -3.0, 0.0], layer_2=[-3.0, 1.0, 0.0])
    architecture_logits.shares[0, 2] = 0.1
    assert space.decode(architecture_logits.best(cost(space), 0.1)).mixers == ("token_hybrid", "linear", "linear")
    assert architecture_logits.cost_of(cost(space), (2, 0, 1)) == pytest.approx(0.05)


def test_where_nothing_is_cheap_enough_the_cheapest_is_found() -> None:
    space = Space("test", small("softmax", "softmax"), ((OPTIONS[0], OPTIONS[2]),) * 2)
    assert ArchitectureLogits(space).best(cost(space), 0.1) == (1, 1), "thresholds can lower the cost of routers only"


def test_what_diverged_still_has_an_architecture() -> None:
    architecture_logits = leaning(three_layers(), layer_0=[float("nan")] * 3)
    architecture_logits.shares.fill_(float("nan"))
    assert len(architecture_logits.best(cost(three_layers()), 0.5)) == 3


def test_an_exact_budget_finds_what_its_routers_can_bring_to_the_target() -> None:
    """Not the layers of softmax that cost the target as they are, where routed ones are more probable."""
    space = Space("test", small(*["linear"] * 3), SPACES["layers"])
    architecture_logits, cost = ArchitectureLogits(space), SpaceCost("softmax_share", space, 64)
    with torch.no_grad():
        for layer in range(3):
            architecture_logits.logits[str(layer)].copy_(torch.tensor([0.0, 0.0, 8.0]))
        architecture_logits.shares.fill_(0.1)
    assert architecture_logits.best(cost, 0.1) == architecture_logits.best(cost, 0.1, exact=True) == (2, 2, 2)
    assert architecture_logits.best(cost, 0.6, exact=True) == (2, 2, 2)
    plain = Space("test", space.sizes, tuple(own[:2] for own in space.options))
    softmax = sum(
        option == 0 for option in ArchitectureLogits(plain).best(SpaceCost("softmax_share", plain, 64), 0.6, exact=True)
    )
    assert softmax == 2, "two thirds come nearest"


def test_what_counts_is_how_chunks_are_routed_in_the_end() -> None:
    """Not what was drawn or mixed; but the gradient is that of the weights."""
    space = Space("test", small("token_hybrid"), ((SPACES["layers"][0][2],),))
    weights = torch.full((1, 4, 2, 2), 0.5, requires_grad=True)
    logits = torch.tensor([1.0, -1.0, -1.0, -1.0])[None, :, None, None] * torch.tensor([0.5, -0.5])
    decided = {0: [Routing(logits.expand(1, 4, 2, 2), weights, 4)]}
    cost = SpaceCost("softmax_share", space, 64)
    architecture_logits = ArchitectureLogits(space)
    measured = architecture_logits.measured(decided)
    assert architecture_logits.cost(cost, measured).item() == pytest.approx(0.5)
    counted = architecture_logits.cost(cost, measured, hard=True)
    assert counted.item() == pytest.approx(0.25)
    counted.backward()
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad[..., 0], torch.full((1, 4, 2), 1 / 8))


SOFTMAX, LINEAR, FINE, COARSE = (
    Layer("softmax", 4),
    Layer("linear", 4),
    Layer("token_hybrid", 4),
    Layer("token_hybrid", 8),
)


def routed_space(*options: tuple[Layer, ...], resource: str = "softmax_share") -> tuple[ArchitectureLogits, SpaceCost]:
    mixers: tuple[str, ...] = ("linear",) * len(options)
    space = Space("toy", small(*mixers), options)
    return ArchitectureLogits(space), SpaceCost(resource, space, context=64)


def routed(share: Tensor, chunk_size: int = 4) -> Routing:
    """A router that keeps this share of every chunk, and where logits decide in the end keeps all of it."""
    weights = torch.stack([share, 1 - share]).expand(2, 3, 2, 2)
    return Routing(torch.tensor([1.0, 0.0]).expand(2, 3, 2, 2), weights, chunk_size)


def test_the_routed_cost_is_the_mean_over_the_architectures_whose_layers_route() -> None:
    architecture_logits, cost = routed_space((SOFTMAX, LINEAR, FINE), (SOFTMAX, FINE, COARSE), resource="kv_bytes")
    architecture_logits.shares.copy_(torch.tensor([[1.0, 1.0, 0.3], [1.0, 0.5, 0.2]]))
    each = [architecture_logits.cost_of(cost, (2, option)) for option in (1, 2)]
    assert architecture_logits.routed_cost(cost, architecture_logits.measured({})).item() == pytest.approx(
        sum(each) / 2
    )


def test_a_layer_without_a_router_counts_with_the_mean_of_its_options() -> None:
    architecture_logits, cost = routed_space((SOFTMAX, LINEAR), (LINEAR, FINE))
    architecture_logits.shares.copy_(torch.tensor([[1.0, 1.0], [1.0, 0.4]]))
    assert architecture_logits.routed_cost(cost, architecture_logits.measured({})).item() == pytest.approx(
        (0.5 + 0.4) / 2
    )


def test_what_was_drawn_counts_as_it_is_and_the_rest_as_it_was() -> None:
    architecture_logits, cost = routed_space((FINE, COARSE), (FINE, COARSE))
    architecture_logits.shares.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    found = architecture_logits.routed_cost(cost, architecture_logits.measured({0: [routed(torch.tensor(0.9), 8)]}))
    assert found.item() == pytest.approx(((0.1 + 1.0) / 2 + (0.3 + 0.4) / 2) / 2)
    assert architecture_logits.shares[0, 1].item() == pytest.approx(0.95 * 0.2 + 0.05 * 1.0), "and is noted"


def test_the_gradient_of_the_routed_cost_is_that_of_the_architecture_that_was_drawn() -> None:
    """However many options there are beside it: those that were not drawn weaken neither this nor the loss."""
    share = torch.tensor(0.6, requires_grad=True)
    architecture_logits, cost = routed_space((SOFTMAX, LINEAR, FINE, COARSE), (SOFTMAX, LINEAR, FINE, COARSE))
    architecture_logits.routed_cost(cost, architecture_logits.measured({1: [routed(share, 8)]})).backward()
    assert share.grad is not None
    assert share.grad.item() == pytest.approx(1 / 2), "one of two layers"
    assert all(logits.grad is None for logits in architecture_logits.logits.values())


def test_nothing_drawn_has_no_gradient() -> None:
    architecture_logits, cost = routed_space((SOFTMAX, LINEAR, FINE))
    assert not architecture_logits.routed_cost(cost, architecture_logits.measured({})).requires_grad
