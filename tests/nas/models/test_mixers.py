"""The mixer: softmax heads finer than linear heads, and routes that reach the heads of their group alone."""

import pytest
import torch
from torch import Tensor

from nas.kernels import joint_gradient
from nas.models import mixers
from nas.models.layers import linear_together
from nas.models.mixers import TokenMixer
from nas.models.operations import find, pairs
from nas.models.routing import LayerChoice, Policy, first_alone
from nas.search_spaces.architecture import Layer
from tests.nas.architectures import small

T = 12


def mixer(routing_heads: int) -> TokenMixer:
    """A mixer of 4 softmax and 2 linear heads whose output channels are the heads', in order."""
    made = TokenMixer(small("token_hybrid", routing_heads=routing_heads), 0, "full").double()
    torch.nn.init.eye_(made.out.weight)
    return made


@pytest.mark.parametrize("routing_heads", [1, 2])
def test_a_route_reaches_the_heads_of_its_group_in_both_branches(routing_heads: int) -> None:
    made, x = mixer(routing_heads), torch.randn(2, T, 12, dtype=torch.float64)

    def with_first_chunk_to(*operations: str) -> Tensor:
        def policy(layer: int, logits: Tensor) -> Tensor:
            weights = torch.zeros_like(logits)
            weights[..., 0] = 1
            for head, operation in enumerate(operations):
                weights[:, 0, head] = torch.tensor([1.0, 0.0] if operation == "softmax" else [0.0, 1.0])
            return weights

        return made(x, policy)[0]

    everywhere = with_first_chunk_to(*["softmax"] * routing_heads)
    for head in range(routing_heads):
        operations = ["softmax"] * routing_heads
        operations[head] = "linear"
        moved = (with_first_chunk_to(*operations) - everywhere).abs().amax((0, 1)) > 1e-9
        group = torch.arange(12) // (12 // routing_heads) == head
        assert torch.equal(moved, group)
    later = with_first_chunk_to(*["linear"] * routing_heads) - everywhere
    assert (later[:, :4] == 0).all(), "a chunk's own route does not touch it"


def test_a_linear_layer_normalises_q_and_k_where_it_convolves_them() -> None:
    made, x = TokenMixer(small("linear"), 0, "full"), torch.randn(2, T, 12)
    linear, softmax = find("linear"), find("softmax")
    apart, together = made.project(x), made.project(x, branches=(linear,))
    assert together.normalised
    assert not made.project(x, branches=(softmax, linear)).normalised
    for (expected, _), (actual, rms) in zip(*(one.norms(linear_heads=2) for one in (apart, together)), strict=True):
        assert torch.equal(expected, actual)
        assert rms is None


def test_softmax_heads_may_be_finer_than_linear_heads() -> None:
    for softmax_heads in (2, 4):
        made = TokenMixer(small("token_hybrid", softmax_heads=softmax_heads), 0, "full")
        assert made.q_norm.normalized_shape == (8 // softmax_heads,)
        assert made.softmax_norm.normalized_shape == (12 // softmax_heads,)
        assert made.branch_score.out_features == 2 * softmax_heads
        assert made(torch.randn(2, T, 12), lambda layer, logits: logits.softmax(-1))[0].shape == (2, T, 12)


def test_state_transitions_may_have_negative_eigenvalues() -> None:
    x = 100 * torch.randn(2, T, 12)
    for negative, strongest, first in ((False, 1.0, 0.018), (True, 2.0, 1.0)):
        made = TokenMixer(small("linear", negative_eigenvalues=negative), 0, "full")
        at_first, beta = (find("linear").heads(made, made.project(given))[-1] for given in (torch.zeros_like(x), x))
        assert at_first.flatten().tolist() == pytest.approx([first] * at_first.numel(), abs=1e-4)
        assert 0 <= beta.min() < 0.1 * strongest, "eigenvalues from 1"
        assert 0.9 * strongest < beta.max() <= strongest, "to 1 - beta"


def test_a_mixer_has_the_parameters_of_its_operations_alone() -> None:
    names = {
        kind: {name.split(".")[0] for name, _ in TokenMixer(small(kind), 0, "full").named_parameters()}
        for kind in ("softmax", "linear", "token_hybrid")
    }
    assert names["token_hybrid"] == names["softmax"] | names["linear"] | {"router", "branch_score"}
    assert names["softmax"].isdisjoint({"decay", "write", "log_decay_rate", "decay_bias", "linear_norm"})
    assert names["linear"].isdisjoint({"q_norm", "k_norm", "softmax_norm"})


def test_linear_attention_starts_out_retentive() -> None:
    made = mixer(1)
    rate, step = made.log_decay_rate.exp(), torch.nn.functional.softplus(made.decay_bias)
    assert ((rate >= 0.0199) & (rate <= 0.3001)).all()
    assert (made.write.bias.sigmoid() < 0.02).all()
    assert ((step >= 0.999e-3) & (step <= 0.1001)).all()


OPTIONS = (Layer("softmax", 4), Layer("linear", 4), Layer("token_hybrid", 2), Layer("token_hybrid", 4))


def supernet(options: tuple[Layer, ...]) -> TokenMixer:
    return TokenMixer(small("token_hybrid"), 0, "full", options).double()


def soft(layer: int, logits: Tensor) -> Tensor:
    return (3 * logits).softmax(-1)


@pytest.mark.parametrize("options", [OPTIONS, OPTIONS[:2], OPTIONS[:3], OPTIONS[1:], OPTIONS[2:]], ids=str)
@pytest.mark.parametrize("policy", [soft, first_alone], ids=["routed", "dense"])
def test_a_mixture_with_all_weight_on_an_option_is_that_option(options: tuple[Layer, ...], policy: Policy) -> None:
    made, x = supernet(options), torch.randn(2, T, 12, dtype=torch.float64)
    for number, option in enumerate(options):
        weights = torch.eye(len(options), dtype=torch.float64)[number].requires_grad_()
        mixed, _ = made(x, policy, LayerChoice(None, weights))
        alone, decided = made(x, policy, LayerChoice(number))
        torch.testing.assert_close(mixed, alone, rtol=1e-9, atol=1e-12)
        assert [routing.chunk_size for routing in decided] == (
            [option.chunk_size] if option.routed and policy is soft else []
        )
        (gradient,) = torch.autograd.grad(mixed.square().sum(), weights)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("among", [(0, 1), (0, 2), (1, 3), (2, 3), (1,)])
def test_a_mixture_of_some_options_is_that_of_a_layer_of_these(among: tuple[int, ...]) -> None:
    made, x = supernet(OPTIONS), torch.randn(2, T, 12, dtype=torch.float64)
    fewer = supernet(tuple(OPTIONS[index] for index in among))
    weights = made.state_dict()
    fewer.load_state_dict({name: weights[name] for name in fewer.state_dict()})
    mixture = torch.rand(len(among), dtype=torch.float64).softmax(0)
    torch.testing.assert_close(
        made(x, soft, LayerChoice(None, mixture, among))[0],
        fewer(x, soft, LayerChoice(None, mixture))[0],
        rtol=1e-10,
        atol=1e-12,
    )


def test_chunk_sizes_that_share_the_inputs_of_their_branches_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where q and k are then normalised once."""
    made, x = supernet(OPTIONS[2:]), torch.randn(2, T, 12, dtype=torch.float64)
    weights = torch.rand(len(made.options), dtype=torch.float64).softmax(0)
    results, normalised, compute = [], [], pairs.SoftmaxAndLinear.heads
    for shared in (False, True):
        heads: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(mixers, "shares_inputs", lambda x, shared=shared: shared)
            patch.setattr(
                pairs.SoftmaxAndLinear, "heads", lambda *given, heads=heads: heads.append(1) or compute(*given)
            )
            y, _ = made(x, soft, LayerChoice(None, weights))
        normalised.append(len(heads))
        results.append([y, *torch.autograd.grad(y.square().sum(), list(made.parameters()))])
    assert normalised == [len({option.chunk_size for option in made.options}), 1]
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-12)


def test_a_mixture_of_softmax_and_linear_is_the_sum_of_both_outputs() -> None:
    made, x = supernet(OPTIONS[:2]), torch.randn(2, T, 12, dtype=torch.float64)
    softmax, linear = (made(x, first_alone, LayerChoice(number))[0] for number in (0, 1))
    mixed, _ = made(x, first_alone, LayerChoice(None, torch.tensor([0.3, 0.7], dtype=torch.float64)))
    torch.testing.assert_close(mixed, 0.3 * softmax + 0.7 * linear)


def test_the_weight_of_an_option_alone_hands_on_a_gradient() -> None:
    made, x = supernet(OPTIONS), torch.randn(2, T, 12, dtype=torch.float64)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    alone, _ = made(x, soft, LayerChoice(1))
    weighed, _ = made(x, soft, LayerChoice(1, weight))
    torch.testing.assert_close(weighed, alone)
    (gradient,) = torch.autograd.grad(weighed.square().sum(), weight)
    torch.testing.assert_close(gradient, 2 * alone.square().sum())


@pytest.mark.parametrize("option", range(4))
def test_a_layer_of_many_options_is_the_mixer_of_each_with_its_weights(option: int) -> None:
    made, x = supernet(OPTIONS), torch.randn(2, T, 12, dtype=torch.float64)
    alone = TokenMixer(small(OPTIONS[option].mixer, chunk_size=OPTIONS[option].chunk_size), 0, "full").double()
    weights = made.state_dict()
    alone.load_state_dict({name: weights[name] for name in alone.state_dict()})
    assert torch.equal(alone(x, soft)[0], made(x, soft, LayerChoice(option))[0])


@pytest.mark.parametrize("weights", [[0.2, 0.3, 0.4, 0.1], [0.0, 0.0, 0.5, 0.5]])
def test_a_mixture_is_causal_at_every_chunk_size(weights: list[float]) -> None:
    made, x = supernet(OPTIONS), torch.randn(2, T, 12, dtype=torch.float64)
    choice = LayerChoice(None, torch.tensor(weights, dtype=torch.float64))
    before, _ = made(x, soft, choice)
    for token in range(T):
        changed = x.clone()
        changed[:, token] += 1
        after, _ = made(changed, soft, choice)
        torch.testing.assert_close(after[:, :token], before[:, :token], rtol=0, atol=1e-12)
        assert (after[:, token] - before[:, token]).abs().max() > 1e-6


@pytest.mark.parametrize("kind", ["token_hybrid", "linear", "softmax"])
def test_projections_of_large_layers_are_computed_together(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = tuple(Layer(name, 4) for name in ("token_hybrid", "linear", "softmax"))
    made = TokenMixer(small("token_hybrid"), 0, "full", options).double()
    choice = LayerChoice([option.mixer for option in options].index(kind))
    x = torch.randn(2, T, 12, dtype=torch.float64, requires_grad=True)
    products: list[int] = []

    def results() -> list[Tensor | None]:
        y, _ = made(x, lambda layer, logits: logits.softmax(-1), choice)
        return [y, *torch.autograd.grad(y.square().sum(), [x, *made.parameters()], allow_unused=True)]

    expected = results()
    monkeypatch.setattr(mixers, "large_on_gpu", lambda x: True)

    def counted(x: Tensor, layers: list[torch.nn.Linear]) -> list[Tensor]:
        products.append(len(layers))
        return linear_together(x, layers)

    monkeypatch.setattr(mixers, "linear_together", counted)
    for own, right in zip(results(), expected, strict=True):
        if right is None:
            assert own is None, "layers of other options get no gradient"
        else:
            torch.testing.assert_close(own, right)
    assert products == [4 if kind == "softmax" else 6]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["token_hybrid", "linear"])
def test_projections_computed_together_on_the_gpu(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sizes = {"width": 1024, "linear_heads": 6, "key_dim": 128, "value_dim": 256, "softmax_heads": 12}
    with torch.device("cuda"):
        made = TokenMixer(small(kind, routing_heads=6, chunk_size=64, **sizes), 0, "full")
        x = torch.randn(2, 4096, 1024, requires_grad=True)

    def results(dtype: torch.dtype) -> list[Tensor]:
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            y, _ = made(x, lambda layer, logits: logits.softmax(-1))
        return [y, *torch.autograd.grad(y.float().square().mean(), [x, *made.parameters()])]

    placed: list[bool] = []
    is_part = joint_gradient._is
    monkeypatch.setattr(joint_gradient, "_is", lambda x, slot: placed.append(is_part(x, slot)) or placed[-1])
    own = results(torch.bfloat16)
    assert placed == [True] * 12, "the gradients of six projections, compared twice each"
    monkeypatch.setattr(mixers, "large_on_gpu", lambda x: False)
    for mine, simple, exact in zip(own, results(torch.bfloat16), results(torch.float32), strict=True):
        error, allowed = ((z.float() - exact).norm() for z in (mine, simple))
        assert error <= 2 * allowed + 1e-3 * exact.norm()
