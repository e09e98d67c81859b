"""The mixer: softmax heads finer than linear heads, and routes that reach the heads of their group alone."""

import pytest
import torch
from torch import Tensor

from nas.models.mixers import TokenMixer
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


def test_softmax_heads_may_be_finer_than_linear_heads() -> None:
    for softmax_heads in (2, 4):
        made = TokenMixer(small("token_hybrid", softmax_heads=softmax_heads), 0, "full")
        assert made.q_norm.normalized_shape == (8 // softmax_heads,)
        assert made.softmax_norm.normalized_shape == (12 // softmax_heads,)
        assert made.branch_score.out_features == 2 * softmax_heads
        assert made(torch.randn(2, T, 12), lambda layer, logits: logits.softmax(-1))[0].shape == (2, T, 12)


def test_a_mixer_has_the_parameters_of_its_operations_alone() -> None:
    names = {
        kind: {name.split(".")[0] for name, _ in TokenMixer(small(kind), 0, "full").named_parameters()}
        for kind in ("softmax", "linear", "token_hybrid")
    }
    assert names["token_hybrid"] == names["softmax"] | names["linear"] | {"router", "branch_score"}
    assert names["softmax"].isdisjoint({"decay", "write", "log_decay_rate", "decay_bias", "linear_norm"})
    assert names["linear"].isdisjoint({"q_norm", "k_norm", "softmax_norm"})


def test_the_decay_starts_between_the_published_bounds() -> None:
    made = mixer(1)
    rate, step = made.log_decay_rate.exp(), torch.nn.functional.softplus(made.decay_bias)
    assert ((rate >= 1) & (rate <= 16)).all()
    assert ((step >= 0.999e-3) & (step <= 0.1001)).all()
