"""Log-n temperature: logits grow with the number of keys, in training and while decoding."""

import math

import pytest
import torch

from nas.models.language_model import LanguageModel
from nas.models.log_temperature import INITIAL_SCALE, scale_by_log_n
from nas.models.policies import learnt
from tests.nas.architectures import small


def test_queries_are_scaled_by_the_number_of_keys() -> None:
    q, scale = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    for start, most in ((0, math.inf), (7, math.inf), (0, 3)):
        given = scale_by_log_n(q, scale, start, most)
        for t in range(5):
            n = min(start + t + 1, most)
            torch.testing.assert_close(given[:, t], q[:, t] * (scale * math.log(n))[:, None])
    each = scale_by_log_n(q, scale, torch.tensor([[3], [9]]))
    torch.testing.assert_close(each[1], scale_by_log_n(q, scale, 9)[1])
    assert scale_by_log_n(q.bfloat16(), scale.float()).dtype == torch.bfloat16


def test_a_leading_key_keeps_its_weight_over_longer_sequences() -> None:
    """The logits are 4 for one key and 0 for all others: plain softmax dilutes the weight of the first."""
    weights = []
    for n in (16, 4096):
        logits = torch.zeros(n)
        logits[3] = 4.0
        factor = scale_by_log_n(torch.ones(1, 1, 1, 1), torch.tensor([INITIAL_SCALE]), n - 1).item()
        weights.append([logits.softmax(0)[3].item(), (factor * logits).softmax(0)[3].item()])
    assert weights[0][0] > 0.7
    assert weights[1][0] < 0.02
    assert weights[1][1] > weights[0][1] > 0.85


def made(mixer: str, log_n: bool) -> LanguageModel:
    torch.manual_seed(1)
    model = LanguageModel(small(mixer, mixer, log_n=log_n, window=4)).double()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("mixer", ["softmax", "window", "linear", "token_hybrid"])
def test_softmax_attention_alone_has_the_temperature(mixer: str) -> None:
    tokens = torch.randint(11, (2, 11))
    plain, scaled = made(mixer, False), made(mixer, True)
    before, after = (model(tokens, learnt).logits for model in (plain, scaled))
    assert torch.equal(before, after) == (mixer == "linear")
    torch.testing.assert_close(before[:, 0], after[:, 0], rtol=0, atol=1e-12)  # there is one key
    assert set(scaled.state_dict()) - set(plain.state_dict()) == (
        set() if mixer == "linear" else {f"blocks.{layer}.mixer.log_scale" for layer in (0, 1)}
    )
    after.square().sum().backward()
    if mixer != "linear":
        gradient = scaled.blocks[0].mixer.log_scale.grad
        assert gradient is not None
        assert gradient.all()
