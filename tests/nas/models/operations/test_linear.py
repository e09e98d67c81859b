"""Gated DeltaNet as an operation: decoding, memory and costs."""

import pytest
import torch

from nas.kernels import gated_delta_rule
from nas.models.operations import find
from nas.models.operations.linear import LinearMemory
from nas.models.operations.operation import CostLine, Heads
from tests.nas.architectures import small
from tests.nas.models.operations.memories import CHUNK, T, decoded, heads, sizes_in_use


def linear_heads() -> Heads:
    g, beta = -torch.rand(2, T, 2, dtype=torch.float64), torch.rand(2, T, 2, dtype=torch.float64)
    return *heads(3), g, beta


@pytest.mark.parametrize("prompt", [1, 4, 7])
@pytest.mark.parametrize("routed", [False, True], ids=["plain", "routed"])
def test_it_goes_on_where_its_prompt_ended(prompt: int, routed: bool) -> None:
    given = linear_heads()
    route = torch.rand(2, 3, 2, dtype=torch.float64) if routed else None
    expected = gated_delta_rule(*given, route, chunk_size=CHUNK)
    torch.testing.assert_close(decoded(LinearMemory(CHUNK), given, prompt, route), expected)


def test_its_state_has_one_size() -> None:
    short, long = sizes_in_use(LinearMemory(CHUNK), linear_heads())
    assert short == long > 0


def test_costs_are_those_of_the_state_whatever_the_context() -> None:
    linear, a = find("linear"), small("linear")
    state = a.linear_heads * a.key_dim * a.value_dim
    for context in (1, 1000):
        for routed in (False, True):
            assert linear.kv_bytes(a, 4, context, routed) == CostLine(4 * (2 * state + a.linear_heads))
            assert linear.flops(a, 4, context, routed) == CostLine(6 * state)
