"""Decisions of routers and choices of layers."""

import pytest
import torch

from nas.models.routing import FIRST_OPTION, LayerChoice, Routing, first_alone, kept_weight, shares_of
from nas.search_spaces.architecture import Layer

OPTIONS = (Layer("softmax", 4), Layer("linear", 4), Layer("token_hybrid", 4))


def routing(tokens: torch.Tensor | None = None) -> Routing:
    """Return soft decisions of three chunks by two heads; one head keeps the first chunk, the other the last two."""
    margin = torch.tensor([[[3.0, -1.0], [-1.0, 2.0], [-2.0, 1.0]]])
    logits = torch.stack([margin, torch.zeros_like(margin)], -1).requires_grad_()
    return Routing(logits, logits.softmax(-1), 4, tokens=tokens)


def test_a_share_is_soft_or_hard_with_the_gradient_of_the_soft_one() -> None:
    given = routing()
    soft, hard = shares_of(given)
    assert soft.item() == pytest.approx(kept_weight(given).mean().item())
    assert hard.item() == pytest.approx(0.5)
    gradients = [torch.autograd.grad(one, given.logits, retain_graph=True)[0] for one in (soft, hard)]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().min() > 0
    assert shares_of(given._replace(shares=torch.tensor([0.25, 0.75]))).tolist() == [0.25, 0.75]


def test_chunks_of_packed_documents_count_by_their_tokens() -> None:
    _, hard = shares_of(routing(torch.tensor([4, 4, 1])))
    assert hard.item() == pytest.approx((0.5 * 4 + 0.5 * 4 + 0.5 * 1) / 9)
    only_first = routing(torch.tensor([4, 0, 0]))
    assert only_first.mean(only_first.logits[..., 0].detach()).item() == pytest.approx(1.0)


@pytest.mark.parametrize("tokens", [None, torch.tensor([4, 4, 1])])
def test_joined_routings_have_the_mean_share(tokens: torch.Tensor | None) -> None:
    joined = Routing.joined([routing(tokens), routing(tokens)])
    assert joined.logits.shape == ((2, 3, 2, 2) if tokens is None else (1, 6, 2, 2))
    torch.testing.assert_close(shares_of(joined), shares_of(routing(tokens)))


def test_a_choice_computes_one_option_some_or_all() -> None:
    assert FIRST_OPTION.of(OPTIONS) == OPTIONS[:1]
    assert LayerChoice(None, torch.ones(3)).of(OPTIONS) == OPTIONS
    assert LayerChoice(None, torch.ones(2), among=(0, 2)).of(OPTIONS) == (OPTIONS[0], OPTIONS[2])


def test_a_layer_that_is_its_first_operation_alone_asks_no_router() -> None:
    with pytest.raises(AssertionError, match="not used"):
        first_alone(0, torch.zeros(1, 3, 2, 2))
