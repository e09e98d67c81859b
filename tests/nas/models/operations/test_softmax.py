"""Softmax attention as an operation: decoding, memory and costs."""

import pytest
import torch

from nas.kernels import chunk_softmax_attention
from nas.models.operations import find
from nas.models.operations.operation import CostLine
from nas.models.operations.softmax import SoftmaxMemory
from tests.nas.architectures import small
from tests.nas.models.operations.memories import CHUNK, decoded, heads, sizes_in_use


@pytest.mark.parametrize("prompt", [1, 4, 7])
@pytest.mark.parametrize("routed", [False, True], ids=["plain", "routed"])
def test_it_goes_on_where_its_prompt_ended(prompt: int, routed: bool) -> None:
    given = heads(3)
    kept = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    route = kept[:, :, None].expand(2, 3, 2) if routed else None
    expected = chunk_softmax_attention(*given, route, chunk_size=CHUNK)
    torch.testing.assert_close(decoded(SoftmaxMemory(CHUNK), given, prompt, route), expected)


def test_its_cache_grows_with_the_prompt() -> None:
    short, long = sizes_in_use(SoftmaxMemory(CHUNK), heads(3))
    assert long > short > 0


def test_costs_grow_with_the_context_and_with_a_router_with_the_share() -> None:
    softmax, a = find("softmax"), small("softmax")
    channels = a.linear_heads * (a.key_dim + a.value_dim)
    assert softmax.kv_bytes(a, 4, 100, routed=False) == CostLine(2 * channels * 100)
    assert softmax.kv_bytes(a, 4, 100, routed=True) == CostLine(2 * channels * 4, 2 * channels * 96)
    assert softmax.flops(a, 4, 100, routed=False).base == 2 * channels * 100
    assert softmax.flops(a, 4, 100, routed=True).at(1.0) == softmax.flops(a, 4, 100, routed=False).base
