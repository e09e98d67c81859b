"""Trials of softmax attention with a route or a window on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.kernels.arguments import num_chunks
from nas.kernels.chunk_softmax_attention import decode, reference, triton_op
from nas.kernels.chunk_softmax_attention.triton_forward import SHORT
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import Draw

TOKENS = 256
"""Tokens of at least two tiles of every kernel."""
HEADS = 2


def chunk_softmax_attention(device: torch.device, K: int, V: int, chunk_size: int, routed: int) -> Iterator[Trial]:
    """Yield a ragged call, one of whole tiles and, where its tiles are others, a long one."""
    tokens = max(2 * chunk_size, TOKENS)
    lengths = [tokens + 5, 2 * tokens]
    if routed and device.type == "cuda" and has_large_shared_memory(device):
        lengths.append(SHORT + chunk_size)
    for length in lengths:
        draw = Draw()
        inputs = _tokens(draw, length, K, V)
        if routed:
            inputs["route"] = draw.route(1, num_chunks(length, chunk_size), HEADS)
        operations = (x.chunk_softmax_attention for x in (reference, triton_op))
        yield Trial(inputs, *(_sequence(x, chunk_size, K**-0.5) for x in operations))


def _tokens(draw: Draw, length: int, K: int, V: int) -> dict[str, Tensor]:
    """Return q, k and v of one sequence."""
    return {name: draw.normal(1, length, HEADS, dim) for name, dim in (("q", K), ("k", K), ("v", V))}


def _sequence(operation: Callable[..., Tensor], chunk_size: int, scale: float) -> Function:
    def run(q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None) -> dict[str, Tensor]:
        if route is None and operation is reference.chunk_softmax_attention:
            route = q.new_ones(1, num_chunks(q.shape[1], chunk_size), HEADS)  # equal, in products that can be rounded
        return {"o": operation(q, k, v, route, chunk_size, scale, True)}

    return run


def window_attention(device: torch.device, K: int, V: int, chunk_size: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles."""

    def by(operation: Callable[..., Tensor], window: int) -> Function:
        return lambda q, k, v: {"o": operation(q, k, v, window, K**-0.5)}

    for length, window in ((TOKENS + 5, 100), (2 * TOKENS, TOKENS // 2)):
        inputs = _tokens(Draw(), length, K, V)
        yield Trial(inputs, *(by(x.window_attention, window) for x in (reference, triton_op)))


def chunk_softmax_attention_step(device: torch.device, K: int, V: int, chunk_size: int) -> Iterator[Trial]:
    """Yield one token after several chunks, which are read in splits, and a few tokens of the running chunk."""
    length = num_chunks(2 * TOKENS, chunk_size) * chunk_size + 5

    def by(step: Callable[..., Tensor]) -> Function:
        @torch.no_grad()
        def run(q: Tensor, k: Tensor, v: Tensor, route: Tensor) -> dict[str, Tensor]:
            cache = decode.cache_of_prefill(k[:, :-1], v[:, :-1], route, chunk_size=chunk_size)
            return {"o": step(q[:, -1], k[:, -1], v[:, -1], cache, K**-0.5)}

        return run

    draw = Draw()
    route = {"route": draw.route(1, num_chunks(length, chunk_size), 1)}
    yield Trial(_tokens(draw, length + 1, K, V) | route, by(decode.reference_step), by(decode.triton_step))
