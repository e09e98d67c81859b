"""Trials of both operations side by side on a new GPU (see `nas.kernels.self_test`)."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from nas.kernels.arguments import num_chunks
from nas.kernels.chunk_softmax_attention.reference import chunk_softmax_attention
from nas.kernels.gated_delta_rule.reference import gated_delta_rule
from nas.kernels.gated_delta_rule.trials import tokens
from nas.kernels.hybrid_attention import triton_op
from nas.kernels.self_test import Trial
from nas.kernels.trials import Draw


def hybrid_attention(
    device: torch.device, softmax_K: int, softmax_V: int, K: int, V: int, chunk_size: int
) -> Iterator[Trial]:
    """Yield a ragged call and one of whole chunks, with the fewest heads of both branches."""
    channels = math.lcm(softmax_V, V)
    softmax_heads, heads = channels // softmax_V, channels // V

    def reference(
        softmax_q: Tensor, softmax_k: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor,
        softmax_route: Tensor, route: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        softmax_v, v = (v.unflatten(-1, (count, -1)) for count in (softmax_heads, heads))
        o = chunk_softmax_attention(softmax_q, softmax_k, softmax_v, softmax_route, chunk_size, softmax_K**-0.5, True)
        linear_o, _ = gated_delta_rule(q, k, v, g, beta, route, chunk_size, K**-0.5, None, True)
        return {"o of softmax attention": o, "o of the gated delta rule": linear_o}

    def kernels(
        softmax_q: Tensor, softmax_k: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor,
        softmax_route: Tensor, route: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        inputs = (softmax_q, softmax_k, q, k, v, g, beta, softmax_route, route)
        o, linear_o = triton_op.hybrid_attention(*inputs, chunk_size, True)
        return {"o of softmax attention": o, "o of the gated delta rule": linear_o}

    for length in (2 * chunk_size + 5, 4 * chunk_size):
        draw = Draw()
        inputs = tokens(draw, length, heads, K, V)
        inputs["v"] = inputs["v"].flatten(2)
        inputs |= {name: draw.normal(1, length, softmax_heads, softmax_K) for name in ("softmax_q", "softmax_k")}
        inputs |= {
            f"{branch}route": draw.route(1, num_chunks(length, chunk_size), count)
            for branch, count in (("softmax_", softmax_heads), ("", heads))
        }
        yield Trial(inputs, reference, kernels)
