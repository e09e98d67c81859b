"""Sliding-window attention as an operation: decoding, memory and costs."""

import pytest
import torch

from nas.kernels import chunk_softmax_attention
from nas.models.operations import find
from nas.models.operations.operation import CostLine
from nas.models.operations.window import WindowMemory
from tests.nas.architectures import small
from tests.nas.models.operations.memories import CHUNK, decoded, heads


@pytest.mark.parametrize("prompt", [1, 4, 7])
@pytest.mark.parametrize("window", [1, 3, 100])
def test_it_goes_on_where_its_prompt_ended(prompt: int, window: int) -> None:
    given = heads(3)
    expected = chunk_softmax_attention(*given, window=window)
    torch.testing.assert_close(decoded(WindowMemory(window), given, prompt, None), expected)


def test_its_costs_stop_growing_at_the_window() -> None:
    window, softmax, a = find("window"), find("softmax"), small("window", window=6)
    for context in (2, 6):
        assert window.kv_bytes(a, CHUNK, context, routed=False) == softmax.kv_bytes(a, CHUNK, context, routed=False)
    assert window.flops(a, CHUNK, 1000, routed=False) == window.flops(a, CHUNK, 6, routed=False)
    assert isinstance(window.flops(a, CHUNK, 6, routed=False), CostLine)
