"""Rotary position encoding: queries and keys turned by their positions, so that scores depend on distances."""

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype


def rotate(q: Tensor, k: Tensor, base: float, start: int = 0) -> tuple[Tensor, Tensor]:
    """Turn queries and keys by their positions (RoFormer; Su et al. 2021, section 3.2.2).

    Channels i and i + K/2 of a head are the two parts of a number in the plane, as in GPT-NeoX and Llama, which the
    position t turns by the angle t / base^(2i/K). Computed in float32 (float64 for float64 inputs).

    Args:
        q, k: [B, T, H, K], K even.
        base: of the wavelengths, the longest of which is nearly 2 pi base tokens.
        start: position of the first token.

    Returns:
        Both in their shapes and dtypes.
    """
    dtype, half = compute_dtype(q.dtype), q.shape[-1] // 2
    positions = torch.arange(start, start + q.shape[1], device=q.device, dtype=dtype)
    frequencies = base ** (torch.arange(half, device=q.device, dtype=dtype) / -half)
    angles = positions[:, None, None] * frequencies  # [T, 1, K/2]
    cos, sin = angles.cos(), angles.sin()
    return _turned(q, cos, sin), _turned(k, cos, sin)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.to(cos.dtype).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
