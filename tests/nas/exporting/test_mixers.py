"""The mixers of an exported model compute what those of the toolkit compute."""

import pytest
import torch

from nas.exporting.mixers import Mixer
from nas.models.mixers import TokenMixer
from nas.models.policies import learnt
from nas.search_spaces.architecture import Layer
from tests.nas.exporting.models import own_architecture


@pytest.mark.parametrize("mixer", ["softmax", "linear", "window", "token_hybrid"])
@torch.no_grad()
def test_a_mixer_gives_what_that_of_the_toolkit_gives(mixer: str) -> None:
    torch.manual_seed(0)
    a = own_architecture(layers=(Layer(mixer, 4),))
    original = TokenMixer(a, 0, "full")
    for weight in original.parameters():
        weight.copy_(torch.randn_like(weight) * 0.3)
    exported = Mixer(a, a.layers[0])
    exported.load_state_dict(original.state_dict())
    x = torch.randn(2, 21, a.width)
    y, _ = original(x, learnt)
    start = torch.zeros(2, 1, dtype=torch.int64)
    torch.testing.assert_close(exported(x, None, start), y, atol=1e-5, rtol=1e-4)
