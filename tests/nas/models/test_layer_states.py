"""The decoding states of layers, as the operations that they consist of determine them."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.models.layer_states import StandaloneState, joined, layer_state
from nas.models.mixers import TokenMixer
from nas.models.operations.linear import LinearMemory
from nas.models.policies import learnt
from tests.kernels.triton_cases import on_cpu
from tests.nas.architectures import small
from tests.nas.models.launches import count


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


LAUNCHES = {"linear": 12, "softmax": 12, "token_hybrid": 16}
"""Kernels of a step of a layer and its SwiGLU on a GPU: their number determines the time of a token."""


@on_cpu
@pytest.mark.parametrize(("mixer", "mixed"), [*((mixer, False) for mixer in LAUNCHES), ("token_hybrid", True)], ids=str)
def test_a_step_launches_few_kernels(mixer: str, mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = []
    for layers in (1, 2):
        made = LanguageModel(small(*(mixer,) * layers, key_dim=8, value_dim=8, chunk_size=16))
        decoder, token = Decoder(made if mixed else made.bfloat16()), torch.randint(11, (1,))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed, cache_enabled=False):
            decoder.prefill(token[None])
            launches.append(count(functools.partial(decoder._advance, token), monkeypatch))
    one_layer = launches[1] - launches[0]
    assert one_layer.total() == LAUNCHES[mixer] + mixed, "autocast casts the weights of the branch scores"
    assert (launches[0] - one_layer).total() == 4, "embedding, norm, head and position"


class Sums:
    """The decoding state of a layer that sums its inputs. Such states cannot be joined."""

    def prefill(self, x: Tensor) -> Tensor:
        self._sum = x.sum(1, keepdim=True)
        return x.cumsum(1)

    def step(self, x: Tensor) -> Tensor:
        self._sum = self._sum + x
        return self._sum

    @property
    def bytes_in_use(self) -> int:
        return self._sum.numel() * self._sum.element_size()


class SumsAlone:
    """Stands in for a standalone operation."""

    def layer_memory(self, mixer: nn.Module) -> Sums:
        return Sums()


def test_sequences_of_a_standalone_operation_have_a_state_for_each_length() -> None:
    """The sequences of a layer whose states cannot be joined: two of three tokens, and one of five."""
    x = torch.randn(3, 6, 4)
    parts = x[:2, :3], x[2:, :5]
    states: list[Any] = [StandaloneState(nn.Module(), SumsAlone()) for _ in parts]  # type: ignore[arg-type]
    for state, part in zip(states, parts, strict=True):
        assert torch.equal(state.prefill(part), part.cumsum(1))
    state = joined(states, [2, 1])
    for step in range(1, 3):
        token = x[:, 5:]
        expected = torch.stack([part.sum(0) for part in (*parts[0], *parts[1])]).unsqueeze(1) + step * token
        torch.testing.assert_close(state.step(token, torch.tensor(0)), expected)
    assert state.bytes_in_use == 3 * 4 * 4
