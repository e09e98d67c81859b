"""The language model: shapes, causality with its own routing, gradients everywhere, and the published sizes."""

import math

import pytest
import torch
from torch import Tensor

from nas import search_spaces
from nas.models.language_model import LanguageModel, count_parameters
from nas.models.policies import drop_all, keep_all, learnt
from nas.models.routing import LayerChoice, Policy, first_alone
from nas.relaxations import argmax_ste
from nas.search_spaces.architecture import Architecture, Layer
from tests.nas.architectures import MIXERS, small
from tests.nas.commands import composed

T = 11
"""Two whole chunks of four tokens, and a short one."""


def model(architecture: Architecture) -> LanguageModel:
    """In float64, with weights so large that routes and logits differ from token to token."""
    made = LanguageModel(architecture).double()
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return made


def soft(layer: int, logits: Tensor) -> Tensor:
    """A policy with fractional routes."""
    return logits.softmax(-1)


def straight_through(layer: int, logits: Tensor) -> Tensor:
    """The policy that a search trains with."""
    return argmax_ste(logits, 1.0)


@pytest.mark.parametrize("mixer", MIXERS)
def test_shapes(mixer: str) -> None:
    tokens = torch.randint(11, (2, T))
    output = model(small(mixer, mixer))(tokens, learnt)  # type: ignore[arg-type]
    assert output.logits.shape == (2, T, 11)
    assert output.logits.isfinite().all()
    assert list(output.routing) == ([0, 1] if mixer == "token_hybrid" else [])
    for (routing,) in output.routing.values():
        assert routing.logits.shape == routing.weights.shape == (2, 3, 2, 2)
        assert (routing.weights.sum(-1) == 1).all()


def test_logits_are_made_where_they_are_wanted() -> None:
    made, tokens = model(small()), torch.randint(11, (2, T))
    places = torch.tensor([0, 3, T - 1, T, 2 * T - 2])
    every = made(tokens, learnt).logits
    torch.testing.assert_close(made(tokens, learnt, places).logits, every.flatten(0, 1)[places])


def test_the_last_norm_adds_the_output_of_the_last_block(monkeypatch: pytest.MonkeyPatch) -> None:
    made, tokens, places = model(small("linear", "softmax")), torch.randint(11, (2, T)), torch.tensor([3, 17])
    hidden, _ = made.hidden(tokens, first_alone)
    added: list[bool] = []
    after = type(made.norm).after
    monkeypatch.setattr(
        made.norm, "after", lambda *given: added.append(given[1] is not None) or after(made.norm, *given)
    )  # type: ignore[func-returns-value]
    for where in (None, places):
        assert torch.equal(made(tokens, first_alone, where).logits, made.read(hidden, where))
    assert added == [True, False, True, False]


@pytest.mark.parametrize("mixers", [("softmax",), ("linear",), ("token_hybrid",), MIXERS], ids=" ".join)
@pytest.mark.parametrize("policy", [learnt, soft], ids=["learnt", "soft"])
@torch.no_grad()
def test_a_token_changes_no_logits_before_it(mixers: tuple[str, ...], policy: Policy) -> None:
    made = model(small(*mixers, *mixers))  # type: ignore[arg-type]
    tokens = torch.randint(11, (8, T))
    before = made(tokens, policy)
    rerouted = False
    for t in range(T):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1 + torch.randint(10, (8,))) % 11
        after = made(changed, policy)
        assert (after.logits[:, :t] - before.logits[:, :t]).abs().max() < 1e-12 if t else True
        assert (after.logits[:, t] - before.logits[:, t]).abs().max() > 1e-6
        rerouted |= any(
            not torch.equal(after.routing[i][0].weights, before.routing[i][0].weights) for i in before.routing
        )
    assert rerouted == ("token_hybrid" in mixers)


def test_gradients_reach_every_parameter() -> None:
    made = model(small("token_hybrid", "linear", "softmax", "token_hybrid"))
    tokens = torch.randint(11, (4, T))
    made(tokens, straight_through).logits.square().mean().backward()
    without = [name for name, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_without_a_policy_routed_layers_are_plain_softmax_attention() -> None:
    hybrid, plain = model(small("token_hybrid")), model(small("softmax"))
    plain.load_state_dict({name: weight for name, weight in hybrid.state_dict().items() if name in plain.state_dict()})
    tokens = torch.randint(11, (2, T))
    output = hybrid(tokens, first_alone)
    assert output.routing == {}
    assert torch.equal(output.logits, plain(tokens, first_alone).logits)


@pytest.mark.parametrize("operation", ["softmax", "linear"])
def test_a_chunk_that_goes_to_one_operation_is_not_seen_later_by_the_other(operation: str) -> None:
    """With one branch switched off at the output, a token matters to a later chunk where its chunk was routed to it."""
    made, tokens = model(small("token_hybrid")), torch.randint(11, (1, T))
    with torch.no_grad():
        for branch in ("softmax_norm", "linear_norm"):
            if not branch.startswith(operation):
                getattr(made.blocks[0].mixer, branch).weight.zero_()
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % 11
    reaches = {
        given: not torch.allclose(made(tokens, policy).logits[:, 8:], made(changed, policy).logits[:, 8:])
        for given, policy in {"softmax": keep_all, "linear": drop_all}.items()
    }
    assert reaches[operation]
    assert not reaches["linear" if operation == "softmax" else "softmax"]


def test_a_tied_head_is_the_embedding() -> None:
    tied, untied = LanguageModel(small(tie_embeddings=True)), LanguageModel(small())
    assert tied.head.weight is tied.embedding.weight
    assert count_parameters(untied) - count_parameters(tied) == 11 * 12


def expected_parameters(a: Architecture) -> int:
    """Counted by hand from the description of the mixer."""
    keys, values = a.linear_heads * a.key_dim, a.linear_heads * a.value_dim
    shared = a.width * (2 * keys + 3 * values) + a.conv_size * (2 * keys + values)
    linear = 2 * a.width * a.linear_heads + 3 * a.linear_heads + values // a.softmax_heads
    softmax = (2 * keys + values) // a.softmax_heads
    routing = 2 * a.routing_heads * (a.width + 1) + 2 * a.softmax_heads * keys
    block = shared + linear + 2 * a.width + 3 * a.width * a.mlp_width
    return len(a.mixers) * block + len(a.routed_layers) * (softmax + routing) + a.width + 2 * a.vocab_size * a.width


@pytest.mark.parametrize(("name", "millions"), [("340m", 340), ("760m", 760)])
def test_the_published_sizes(name: str, millions: int) -> None:
    config = composed("search", "+space=token_hybrid", f"model={name}")
    architecture = search_spaces.build(config.space, config.model, vocab_size=32_000).sizes
    with torch.device("meta"):
        made = LanguageModel(architecture)
    assert len(architecture.mixers) == 21
    assert architecture.routed_layers == (3, 7, 11, 15, 19, 20)
    assert {architecture.mixers[i] for i in range(21) if i not in architecture.routed_layers} == {"linear"}
    assert count_parameters(made) == expected_parameters(architecture)
    once = count_parameters(made) - made.head.weight.numel()
    assert math.isclose(once, millions * 1e6, rel_tol=0.03)


def test_a_model_routes_by_itself_as_its_routers_say() -> None:
    made, tokens = LanguageModel(small("token_hybrid", "linear", "token_hybrid")), torch.randint(11, (2, 20))
    own = made(tokens)
    assert set(own.routing) == {0, 2}
    assert own.logits.equal(made(tokens, learnt).logits)
    assert not torch.allclose(own.logits, made(tokens, first_alone).logits)


def test_a_model_routes_by_itself_as_its_routing_is_given() -> None:
    made = LanguageModel(small("token_hybrid", given_routing="strided", given_share=0.5))
    (routing,) = made(torch.randint(11, (1, 40))).routing[0]
    assert routing.weights[0, :, 0, 0].tolist() == [0.0, 1.0] * 5


WIDTHS = tuple(Layer(mixer, 4, width) for mixer in ("softmax", "token_hybrid") for width in (4, 10, None))


def test_options_may_differ_in_the_width_of_their_mlp() -> None:
    sizes = small("softmax", mlp_width=16)
    supernet, tokens = LanguageModel(sizes, "full", (WIDTHS,)).double(), torch.randint(11, (2, T))
    for number, option in enumerate(WIDTHS):
        child = supernet.inherit(sizes.with_layers([option]))
        assert child.blocks[0].mlp.down.in_features == (option.mlp_width or 16)
        alone = supernet(tokens, learnt, layer_choices=[LayerChoice(number)]).logits
        torch.testing.assert_close(child(tokens, learnt).logits, alone, rtol=1e-9, atol=1e-12)
        weights = torch.eye(len(WIDTHS), dtype=torch.float64)[number].requires_grad_()
        mixed = supernet(tokens, learnt, layer_choices=[LayerChoice(None, weights)]).logits
        torch.testing.assert_close(mixed, alone, rtol=1e-9, atol=1e-12)
        (gradient,) = torch.autograd.grad(mixed.square().sum(), weights)
        assert gradient.isfinite().all()


def test_a_mixture_of_mlp_widths_counts_each_channel_as_often_as_options_have_it() -> None:
    supernet = LanguageModel(small("softmax", mlp_width=16), "full", (WIDTHS[:3],)).double()
    (block,), x = supernet.blocks, torch.randn(2, T, 12, dtype=torch.float64)
    mixed = block._feed_forward(x, LayerChoice(None, torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)))
    each = [block.mlp(x, hidden) for hidden in (4, 10, 16)]
    torch.testing.assert_close(mixed, 0.2 * each[0] + 0.3 * each[1] + 0.5 * each[2], rtol=1e-9, atol=1e-12)
