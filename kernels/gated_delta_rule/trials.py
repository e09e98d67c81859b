"""Trials of the gated delta rule on a new GPU (see `nas.kernels.self_test`)."""

import functools
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import compute_dtype, num_chunks
from nas.kernels.gated_delta_rule import decode, reference, triton_decode, triton_op
from nas.kernels.gated_delta_rule.triton_plan import MIN_SEGMENT_TOKENS
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import Draw
from nas.kernels.triton_support import multiprocessors

COLUMNS = 64
"""Columns of v in a program of most scans."""


def gated_delta_rule(
    device: torch.device, K: int, V: int, chunk_size: int, routed: int, group: int, packed: int
) -> Iterator[Trial]:
    """Yield a ragged call with more heads than programs and, if this GPU splits sequences, a call with segments.

    Each head of q and k serves ``group`` heads of v; ``packed`` has two documents.
    """
    blocks = num_chunks(V, COLUMNS)
    sizes = [(2 * chunk_size + 5, multiprocessors(device) // blocks + 1)]
    if 2 * blocks * group <= multiprocessors(device):
        sizes.append((2 * MIN_SEGMENT_TOKENS, group))
    for length, least in sizes:
        heads = num_chunks(least, group) * group
        borders = [0, length // 3, length] if packed else [0, length]
        chunks = sum(num_chunks(end - start, chunk_size) for start, end in pairwise(borders))
        draw = Draw()
        inputs = tokens(draw, length, heads, K, V, group)
        inputs["initial_state"] = draw.normal(len(borders) - 1, heads, K, V)
        if routed:
            inputs["route"] = draw.route(1, chunks, heads)
        yield Trial(inputs, _by_reference(borders, chunk_size), _by_kernels(borders if packed else None, chunk_size))


Results = tuple[Tensor, Tensor]


def _named(operation: Callable[..., Results], chunk_size: int) -> Function:
    def run(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **rest: Tensor) -> dict[str, Tensor]:
        given = (rest.get("route"), chunk_size, q.shape[-1] ** -0.5, rest["initial_state"], True)
        return dict(zip(("o", "the final state"), operation(q, k, v, g, beta, *given), strict=True))

    return run


def _by_reference(borders: list[int], chunk_size: int) -> Function:
    return _named(functools.partial(reference.gated_delta_rule_of_documents, borders), chunk_size)


def _by_kernels(borders: list[int] | None, chunk_size: int) -> Function:
    return _named(functools.partial(triton_op.gated_delta_rule, borders=borders), chunk_size)


def tokens(draw: Draw, length: int, heads: int, K: int, V: int, group: int = 1) -> dict[str, Tensor]:
    """Return q, k, v, g and beta of one sequence."""
    return {
        "q": F.normalize(draw.normal(1, length, heads // group, K), dim=-1),
        "k": F.normalize(draw.normal(1, length, heads // group, K), dim=-1),
        "v": draw.normal(1, length, heads, V),
        "g": -draw.uniform(1, length, heads),
        "beta": draw.uniform(1, length, heads),
    }


def gated_delta_rule_step(device: torch.device, K: int, V: int, chunk_size: int, group: int) -> Iterator[Trial]:
    """Yield one token of two heads of q and k, each for ``group`` heads of v."""

    def by(step: Callable[..., Tensor]) -> Function:
        @torch.no_grad()
        def run(state: Tensor, **token: Tensor) -> dict[str, Tensor]:
            q, k, v, g, beta = (x[0] for x in token.values())
            current = state.to(compute_dtype(q.dtype), copy=True)
            log_decay = current.new_zeros(current.shape[:2])
            o = step(q, k, v, g, beta, current, log_decay, K**-0.5)
            return {"o": o, "the state": current, "the decay": log_decay}

        return run

    def reference_step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, *state: Any) -> Tensor:
        current, log_decay, scale = state
        return decode.reference_step(q, k, v, g, beta, decode.LinearState(current, current, log_decay), scale)

    draw = Draw()
    inputs = tokens(draw, 2, 2 * group, K, V, group) | {"state": draw.normal(2, 2 * group, K, V)}
    yield Trial(inputs, by(reference_step), by(triton_decode.step))
