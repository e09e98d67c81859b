"""Rotary position encoding: against complex numbers, and what it means for scores and models."""

import pytest
import torch
from torch import Tensor

from nas.models.language_model import LanguageModel
from nas.models.policies import learnt
from nas.models.rotary import rotate
from tests.nas.architectures import small

BASE = 100.0


def heads(length: int = 9, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, length, 3, 8, dtype=dtype)


@pytest.mark.parametrize("start", [0, 5])
def test_a_rotation_is_a_product_with_a_complex_number(start: int) -> None:
    q, k = heads(), heads()
    angles = torch.tensor(
        [[(start + t) / BASE ** (2 * i / 8) for i in range(4)] for t in range(9)], dtype=torch.float64
    )
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]
    for given, rotated in zip((q, k), rotate(q, k, BASE, start), strict=True):
        expected = torch.complex(given[..., :4], given[..., 4:]) * turn
        torch.testing.assert_close(rotated, torch.cat([expected.real, expected.imag], -1), rtol=0, atol=1e-12)


def test_scores_depend_on_distances_alone() -> None:
    q, k = heads(), heads()
    near, far = (torch.einsum("bihk,bjhk->bhij", *rotate(q, k, BASE, start)) for start in (0, 1000))
    torch.testing.assert_close(near, far, rtol=0, atol=1e-10)
    same_token = heads(1).expand(2, 9, 3, 8)
    scores = torch.einsum("bihk,bjhk->bhij", *rotate(same_token, same_token, BASE))
    for distance in range(9):
        diagonal = scores.diagonal(distance, -2, -1)
        torch.testing.assert_close(diagonal, diagonal[..., :1].expand_as(diagonal))
    assert (scores[..., 0, 0] - scores[..., 0, 1]).abs().min() > 1e-6


def test_half_precision_is_rotated_in_float32() -> None:
    q, k = (heads(dtype=torch.bfloat16) for _ in range(2))
    exact = rotate(q.double(), k.double(), BASE, start=100_000)
    for rotated, expected in zip(rotate(q, k, BASE, start=100_000), exact, strict=True):
        assert rotated.dtype == torch.bfloat16
        torch.testing.assert_close(rotated.double(), expected, rtol=2**-8, atol=0.02)


def made(mixer: str, base: float | None) -> LanguageModel:
    torch.manual_seed(1)
    model = LanguageModel(small(mixer, mixer, rope_base=base)).double()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("mixer", ["softmax", "linear", "token_hybrid"])
def test_softmax_attention_has_positions_and_linear_attention_none(mixer: str) -> None:
    tokens = torch.randint(11, (2, 11))
    plain, rotary = (made(mixer, base)(tokens, learnt).logits for base in (None, BASE))
    assert torch.equal(plain, rotary) == (mixer == "linear")
    torch.testing.assert_close(plain[:, 0], rotary[:, 0], rtol=0, atol=1e-12)  # it sees nothing but itself


@pytest.mark.parametrize("mixer", ["softmax", "token_hybrid"])
@torch.no_grad()
def test_a_token_changes_no_logits_before_it(mixer: str) -> None:
    model, tokens = made(mixer, BASE), torch.randint(11, (2, 11))
    before = model(tokens, learnt).logits
    for t in range(11):
        changed = tokens.clone()
        changed[:, t] = (changed[:, t] + 1) % 11
        after = model(changed, learnt).logits
        assert (after[:, :t] - before[:, :t]).abs().max() < 1e-12 if t else True
        assert (after[:, t] - before[:, t]).abs().max() > 1e-6


@pytest.mark.parametrize("mixer", ["softmax", "token_hybrid"])
def test_a_model_with_rotary_positions_learns(mixer: str) -> None:
    model, tokens = LanguageModel(small(mixer, mixer, rope_base=BASE)), torch.randint(11, (4, 12))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(3):
        logits = model(tokens[:, :-1], learnt).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]
    gradients = [model.blocks[0].mixer.q.weight.grad, model.blocks[0].mixer.k.weight.grad]
    assert all(gradient is not None and gradient.any() for gradient in gradients)
