"""Rotary position encoding: queries and keys are rotated by position, so that scores depend on distances."""

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype


def rotate(q: Tensor, k: Tensor, base: float, start: int | Tensor = 0) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys by their positions (RoFormer; Su et al. 2021, section 3.2.2).

    Channels i and i + K/2 of a head form a point in the plane, as in GPT-NeoX and Llama. Position t rotates it by the
    angle t / base^(2i/K). The rotation is computed in float32, or in float64 for float64 inputs.

    Args:
        q, k: [B, T, H, K], K even.
        base: base of the wavelengths. The longest wavelength is nearly 2 pi base tokens.
        start: position of the first token: a number, a scalar tensor of integers, or [B, 1] integers. [1, T] integers
            are added to the index of each token instead; packed documents begin at position 0 each.

    Returns:
        Rotated q and k, in their shapes and dtypes.
    """
    dtype, half = compute_dtype(q.dtype), q.shape[-1] // 2
    positions = start + torch.arange(q.shape[1], device=q.device, dtype=dtype)
    frequencies = base ** (torch.arange(half, device=q.device, dtype=dtype) / -half)
    angles = positions[..., None, None] * frequencies  # [T, 1, K/2] or [B, T, 1, K/2]
    cos, sin = angles.cos(), angles.sin()
    return _rotated(q, cos, sin), _rotated(k, cos, sin)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.to(cos.dtype).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
