"""Rotary position encoding: queries and keys are rotated by position, so that scores depend on distances."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from nas.kernels.arguments import compute_dtype
from nas.search_spaces.backbone import Rope


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
    return rotate_by(q, k, base ** (torch.arange(half, device=q.device, dtype=dtype) / -half), start)


def rotate_by(
    q: Tensor, k: Tensor, frequencies: Tensor, start: int | Tensor = 0, factor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys by their positions with given angles per token.

    Args:
        q: [B, T, H, K].
        k: [B, T, G, K].
        frequencies: [K/2] radians per token, in the dtype of the computation or a narrower one.
        start: position of the first token, see `rotate`.
        factor: factor on the results.

    Returns:
        Rotated q and k, in their shapes and dtypes.
    """
    positions = start + torch.arange(q.shape[1], device=q.device, dtype=compute_dtype(q.dtype))
    angles = positions[..., None, None] * frequencies  # [T, 1, K/2] or [B, T, 1, K/2]
    cos, sin = angles.cos(), angles.sin()
    if factor != 1.0:
        cos, sin = cos * factor, sin * factor
    return _rotated(q, cos, sin), _rotated(k, cos, sin)


@functools.lru_cache(maxsize=256)
def frequencies_of(rope: Rope, key_dim: int, device: torch.device) -> Tensor:
    """Return the frequencies [K/2] of a pretrained model in float32, in which such models compute them."""
    with torch.inference_mode(False):  # the same tensor serves training
        own = 1.0 / rope.base ** (torch.arange(0, key_dim, 2, dtype=torch.float32) / key_dim)
        return _scaled(own, rope).to(device)


def _scaled(own: Tensor, rope: Rope) -> Tensor:
    """Return frequencies after the scaling of a `Rope`. A dynamic scaling begins beyond the context."""
    return SCALED[rope.scaling](own, rope) if rope.scaling in SCALED else own


def _llama3(own: Tensor, rope: Rope) -> Tensor:
    assert rope.original_length is not None
    rotations = rope.original_length * own / (2 * math.pi)
    kept = (rotations - rope.low_frequency) / (rope.high_frequency - rope.low_frequency)
    return torch.lerp(own / rope.factor, own, kept.clamp(0, 1))


def _yarn(own: Tensor, rope: Rope) -> Tensor:
    return torch.lerp(own, own / rope.factor, _ramp(len(own), rope))


SCALED: dict[str, Callable[[Tensor, Rope], Tensor]] = {
    "linear": lambda own, rope: own / rope.factor,
    "llama3": _llama3,
    "yarn": _yarn,
}
"""Scalings of frequencies by name."""


def _ramp(half: int, rope: Rope) -> Tensor:
    """Return how far yarn interpolates each of the K/2 frequencies, 0 to 1, by their rotations in the old context."""
    assert rope.original_length is not None
    length = rope.original_length

    def channel(rotations: float) -> float:
        """Return the channel, between the integers, that makes this number of rotations."""
        return half * math.log(length / (rotations * 2 * math.pi)) / math.log(rope.base)

    first, last = channel(rope.beta_fast), channel(rope.beta_slow)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    width = last - first or 0.001
    return ((torch.arange(half, dtype=torch.float32) - first) / width).clamp(0, 1)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.to(cos.dtype).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)
