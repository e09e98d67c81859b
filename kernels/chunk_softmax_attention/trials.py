"""Trials of softmax attention with a route or a window on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from nas.kernels.arguments import num_chunks
from nas.kernels.chunk_softmax_attention import decode, reference, triton_op, window_decode
from nas.kernels.chunk_softmax_attention.triton_forward import SHORT
from nas.kernels.documents import chunks_of_documents
from nas.kernels.machine import has_large_shared_memory
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import Draw

TOKENS = 256
"""Tokens of at least two tiles of every kernel."""
HEADS = 2


def chunk_softmax_attention(
    device: torch.device, K: int, V: int, chunk_size: int, routed: int, group: int, packed: int
) -> Iterator[Trial]:
    """Yield a ragged call, one of whole tiles and, where its tiles are others, a long one.

    Each head of k and v serves ``group`` heads of q; ``packed`` has two documents.
    """

    def by(operation: Callable[..., Tensor], borders: list[int] | None, instead: Tensor | None) -> Function:
        def run(q: Tensor, k: Tensor, v: Tensor, route: Tensor | None = None) -> dict[str, Tensor]:
            if route is None and instead is not None:
                route = instead.to(q.dtype)
            return {"o": operation(q, k, v, route, chunk_size, K**-0.5, True, borders)}

        return run

    tokens = max(2 * chunk_size, TOKENS)
    lengths = [tokens + 5, 2 * tokens]
    if routed and device.type == "cuda" and has_large_shared_memory(device):
        lengths.append(SHORT + chunk_size)
    for length in lengths:
        draw = Draw()
        inputs, borders = _tokens(draw, length, K, V, group), _borders(length, packed)
        chunks = num_chunks(length, chunk_size) if borders is None else chunks_of_documents(borders, chunk_size)
        if routed:
            inputs["route"] = draw.route(1, chunks, HEADS)
        ones = torch.ones(1, chunks, HEADS)  # equal to no route, in products that can be rounded
        yield Trial(
            inputs,
            by(reference.chunk_softmax_attention, borders, ones),
            by(triton_op.chunk_softmax_attention, borders, None),
        )


def _tokens(draw: Draw, length: int, K: int, V: int, group: int = 1) -> dict[str, Tensor]:
    """Return q, k and v of one sequence."""
    sizes = {"q": (HEADS * group, K), "k": (HEADS, K), "v": (HEADS, V)}
    return {name: draw.normal(1, length, *size) for name, size in sizes.items()}


def _borders(length: int, packed: int) -> list[int] | None:
    """Return the borders of two documents, or None for one sequence."""
    return [0, length // 3, length] if packed else None


def window_attention(device: torch.device, K: int, V: int, chunk_size: int, group: int, packed: int) -> Iterator[Trial]:
    """Yield a ragged call and one of whole tiles, otherwise as `chunk_softmax_attention`."""

    def by(operation: Callable[..., Tensor], window: int, borders: list[int] | None) -> Function:
        return lambda q, k, v: {"o": operation(q, k, v, window, K**-0.5, borders)}

    for length, window in ((TOKENS + 5, 100), (2 * TOKENS, TOKENS // 2)):
        inputs, borders = _tokens(Draw(), length, K, V, group), _borders(length, packed)
        yield Trial(inputs, *(by(x.window_attention, window, borders) for x in (reference, triton_op)))


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


def window_attention_step(device: torch.device, K: int, V: int, chunk_size: int) -> Iterator[Trial]:
    """Yield one token with two heads of q for each of k and v, with a full ring of several splits and one with room."""

    def by(step: Callable[..., Tensor], window: int) -> Function:
        @torch.no_grad()
        def run(q: Tensor, k: Tensor, v: Tensor) -> dict[str, Tensor]:
            cache = window_decode.window_cache_of_prefill(k[:, :-1], v[:, :-1], window=window)
            return {"o": step(q[:, -1], k[:, -1], v[:, -1], cache, K**-0.5)}

        return run

    for window in (2 * TOKENS, 4 * TOKENS):
        inputs = _tokens(Draw(), 3 * TOKENS, K, V, group=2)
        yield Trial(inputs, *(by(x, window) for x in (window_decode.reference_step, window_decode.triton_step)))
