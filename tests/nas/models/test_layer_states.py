"""The decoding states of layers, as the operations that they consist of determine them."""

import pytest
import torch

from nas.models.layer_states import layer_state
from nas.models.mixers import TokenMixer
from nas.models.operations.linear import LinearMemory
from nas.models.policies import learnt
from tests.nas.architectures import small


@pytest.mark.parametrize("mixer", ["linear", "token_hybrid"])
def test_states_that_do_not_say_that_they_stay_in_place_are_not_recorded(
    mixer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = layer_state(TokenMixer(small(mixer), 0, "full"), learnt)
    with torch.no_grad():
        state.prefill(torch.randn(2, 6, 12))
    assert state.buffers
    monkeypatch.delattr(LinearMemory, "buffers")
    assert state.buffers is None
