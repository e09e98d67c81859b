"""Log-n temperature: softmax logits grow with the logarithm of the number of keys, so that attention stays sharp."""

import math

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype

INITIAL_SCALE = 0.43
"""Initial factor of log n, for which the logits at 10 keys are those of plain softmax (Nakanishi 2025, section 2)."""


def scale_by_log_n(q: Tensor, scale: Tensor, start: int | Tensor = 0, most: float = math.inf) -> Tensor:
    """Multiply queries by scale * log n, where n is the number of keys up to their position.

    All logits of a query are then multiplied by this factor (Scalable-Softmax; Nakanishi 2025, arXiv 2501.19399). With
    plain softmax the weight of a key falls as other keys are added; with this factor a key that leads by 1 / scale
    keeps its weight. The number of keys does not depend on routes: dropped chunks count. The factor is computed in
    float32, or in float64 for float64 queries.

    Args:
        q: [B, T, H, K].
        scale: [H], factor of each head.
        start: position of the first token: a number, a scalar tensor of integers, or [B, 1] integers. [1, T] integers
            are added to the index of each token instead; packed documents begin at position 0 each.
        most: largest number of keys, the size of a window; infinity for no limit.

    Returns:
        Scaled q, in its shape and dtype.
    """
    dtype = compute_dtype(q.dtype)
    count = start + torch.arange(1, q.shape[1] + 1, device=q.device, dtype=dtype)
    factor = count.clamp(max=most).log()[..., None] * scale.to(dtype)  # [T, H] or [B, T, H]
    return (q.to(dtype) * factor[..., None]).to(q.dtype)
