"""Helpers of the decoding tests: decoding of whole inputs token by token, and the owners of pages."""

from typing import Any

import torch
from torch import Tensor

from nas.kernels.chunk_softmax_attention import decode as softmax_decode
from nas.kernels.chunk_softmax_attention.decode import KVCache, chunk_softmax_attention_step
from nas.kernels.gated_delta_rule import decode as linear_decode
from nas.kernels.gated_delta_rule.decode import LinearState, gated_delta_rule_step
from tests.kernels.cases import Inputs, Shape


def decode_softmax(inputs: Inputs, chunk_size: int, cache: KVCache, start: int = 0, **options: Any) -> Any:
    """Decode tokens ``start`` and later; returns o [B, T - start, H, V] and the cache."""
    q, k, v, route = (inputs.get(name) for name in ("q", "k", "v", "route"))
    outputs = []
    for t in range(start, q.shape[1]):
        o, cache = chunk_softmax_attention_step(q[:, t], k[:, t], v[:, t], cache, **options)
        outputs.append(o)
        if (t + 1) % chunk_size == 0:
            cache = softmax_decode.close_chunk(cache, None if route is None else route[:, t // chunk_size])
    return torch.stack(outputs, dim=1), cache


def decode_linear(
    inputs: Inputs, chunk_size: int, state: LinearState, start: int = 0, **options: Any
) -> tuple[Tensor, LinearState]:
    """Decode tokens ``start`` and later, and close the last chunk even if it is short, as in a whole sequence."""
    tokens, route = [inputs[name] for name in ("q", "k", "v", "g", "beta")], inputs.get("route")
    length, outputs = tokens[0].shape[1], []
    for t in range(start, length):
        o, state = gated_delta_rule_step(*(x[:, t] for x in tokens), state, **options)
        outputs.append(o)
        if (t + 1) % chunk_size == 0 or t + 1 == length:
            decides = None if route is None else route[:, t // chunk_size]
            state = linear_decode.close_chunk(state, decides)
    return torch.stack(outputs, dim=1), state


def state_from(initial_state: Tensor) -> LinearState:
    """Return the state at the start of a chunk, from copies of ``initial_state`` [B, H, K, V]."""
    current, start = (initial_state.detach().clone() for _ in range(2))
    return LinearState(current, start, current.new_zeros(current.shape[:2]))


def cache_for(shape: Shape, dtype: torch.dtype = torch.float64, **options: Any) -> KVCache:
    sizes = (shape.B, shape.H, shape.R or shape.H, shape.K, shape.V)
    return softmax_decode.empty_cache(*sizes, chunk_size=shape.chunk_size, dtype=dtype, **options)


def stack_of(cache: KVCache) -> list[int]:
    return cache.free[: int(cache.free_count)].tolist()


def listed_pages(cache: KVCache) -> list[int]:
    rows = zip(cache.table.flatten(0, 1).tolist(), cache.kept.flatten().tolist(), strict=True)
    return [page for row, count in rows for page in row[:count]]


def assert_every_page_has_one_owner(cache: KVCache) -> None:
    pages = listed_pages(cache) + cache.open_page.flatten().tolist() + stack_of(cache)
    assert sorted(pages) == list(range(cache.keys.shape[0]))
