"""What the kernels of the element-wise operations share: rows of tensors, SiLU, and RMSNorm with its gradient."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import torch
import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.triton_support import dense


def rows(x: Tensor) -> Tensor:
    """[N, D] of x [..., D], dense in D; x's own memory unless no single stride leads from row to row."""
    return dense(x.reshape(-1, x.shape[-1]))


def tokens_per_tile(channels: int, elements: int) -> int:
    """How many tokens, a power of two, fill a tile of ``elements`` when each has ``channels``, a power of two."""
    return max(1, elements // channels)


def missing(like: Tensor) -> Tensor:
    """Stands for an output that was not asked for, since an operator cannot return None."""
    return like.new_empty(0)


def sum_partials(partials: Tensor, like: Tensor) -> Tensor:
    """Gradient of a weight from the float32 sums [P, ...] of P programs, always added in the same order."""
    return partials.sum(0, dtype=torch.float32).to(like.dtype)


@triton.jit
def silu(x):
    """x * sigmoid(x)."""
    return x * tl.sigmoid(x)


@triton.jit
def silu_and_slope(x):
    """silu(x) and its derivative."""
    s = tl.sigmoid(x)
    return x * s, s * (1.0 + x * (1.0 - s))


@triton.jit
def inverse_rms(x, eps, DIM: tl.constexpr):
    """1 / sqrt(mean(x^2) + eps) over the last dimension, DIM entries and zeros; that dimension stays, of size 1."""
    return tl.rsqrt(tl.sum(x * x, axis=-1, keep_dims=True) / DIM + eps)


@triton.jit
def rms_gradient(u, du, inner, scale, DIM: tl.constexpr):
    """Gradient for x of u = x * scale with scale = `inverse_rms`(x), from du and inner = sum(du * u)."""
    return scale * (du - u * (inner / DIM))
