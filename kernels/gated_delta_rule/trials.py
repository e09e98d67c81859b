"""Trials of the gated delta rule on a new GPU (see `nas.kernels.self_test`)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.kernels.arguments import compute_dtype, num_chunks
from nas.kernels.gated_delta_rule import decode, reference, triton_decode, triton_op
from nas.kernels.gated_delta_rule.triton_launch import MIN_SEGMENT_TOKENS
from nas.kernels.self_test import Function, Trial
from nas.kernels.trials import Draw
from nas.kernels.triton_support import multiprocessors

COLUMNS = 64
"""Columns of v in a program of most scans."""


def gated_delta_rule(device: torch.device, K: int, V: int, chunk_size: int, routed: int) -> Iterator[Trial]:
    """Yield a ragged call with more heads than programs and, if this GPU splits sequences, a call with segments."""
    blocks = num_chunks(V, COLUMNS)
    yield _trial(2 * chunk_size + 5, multiprocessors(device) // blocks + 1, K, V, chunk_size, routed)
    if 2 * blocks <= multiprocessors(device):
        yield _trial(2 * MIN_SEGMENT_TOKENS, 1, K, V, chunk_size, routed)


def _trial(length: int, heads: int, K: int, V: int, chunk_size: int, routed: int) -> Trial:
    def by(operation: Callable[..., tuple[Tensor, Tensor]]) -> Function:
        def run(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, **rest: Tensor) -> dict[str, Tensor]:
            given = (rest.get("route"), chunk_size, K**-0.5, rest["initial_state"], True)
            return dict(zip(("o", "the final state"), operation(q, k, v, g, beta, *given), strict=True))

        return run

    draw = Draw()
    inputs = tokens(draw, length, heads, K, V) | {"initial_state": draw.normal(1, heads, K, V)}
    if routed:
        inputs["route"] = draw.route(1, num_chunks(length, chunk_size), heads)
    return Trial(inputs, by(reference.gated_delta_rule), by(triton_op.gated_delta_rule))


def tokens(draw: Draw, length: int, heads: int, K: int, V: int) -> dict[str, Tensor]:
    """Return q, k, v, g and beta of one sequence."""
    return {
        "q": F.normalize(draw.normal(1, length, heads, K), dim=-1),
        "k": F.normalize(draw.normal(1, length, heads, K), dim=-1),
        "v": draw.normal(1, length, heads, V),
        "g": -draw.uniform(1, length, heads),
        "beta": draw.uniform(1, length, heads),
    }


def gated_delta_rule_step(device: torch.device, K: int, V: int, chunk_size: int) -> Iterator[Trial]:
    """Yield one token of three heads."""

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
    inputs = tokens(draw, 2, 3, K, V) | {"state": draw.normal(2, 3, K, V)}
    yield Trial(inputs, by(reference_step), by(triton_decode.step))
