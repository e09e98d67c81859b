"""Helpers of the element-wise operations' kernels: rows of tensors, sums of parts, SiLU, RMSNorm and its gradient."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.triton_support import dense, on_device

SUMMED_ROWS, SUMMED_COLUMNS = 512, 16
"""Rows and columns of a tile of parts of a gradient: 64 bytes of a row, and few rounds of loads."""


def rows(x: Tensor) -> Tensor:
    """View x [..., D] as [N, D], dense in D; it is copied unless a single stride leads from row to row."""
    return dense(x.reshape(-1, x.shape[-1]))


def tokens_per_tile(channels: int, elements: int) -> int:
    """Return how many tokens of ``channels`` each fill a tile of ``elements``; all three are powers of two."""
    return max(1, elements // channels)


def empty_output(like: Tensor) -> Tensor:
    """Return an empty tensor in place of an output that is not wanted, since an operator cannot return None."""
    return like.new_empty(0)


def sum_partials(partials: Tensor, like: Tensor) -> Tensor:
    """Sum float32 gradients [P, ...] of a weight over P programs, in a fixed order and in the dtype of ``like``."""
    total = like.new_empty(partials.shape[1:])
    with on_device(partials):
        add_rows[(triton.cdiv(total.numel(), SUMMED_COLUMNS),)](
            partials, total, len(partials), total.numel(), BR=SUMMED_ROWS, BC=SUMMED_COLUMNS, num_warps=16
        )
    return total


@triton.jit(do_not_specialize=["rows"])
def add_rows(partials, total, rows, columns, BR: tl.constexpr, BC: tl.constexpr):
    """Sum BC columns of partials [rows, columns], BR rows at a time."""
    r, c = tl.arange(0, BR)[:, None], tl.program_id(0) * BC + tl.arange(0, BC)[None, :]
    sums = tl.zeros([BR, BC], tl.float32)
    for first in range(0, rows, BR):
        place = partials + (first + r).to(tl.int64) * columns + c
        sums += tl.load(place, mask=(first + r < rows) & (c < columns), other=0.0)
    sums = tl.sum(sums, axis=0)[None, :]
    tl.store(total + c, sums.to(total.dtype.element_ty), mask=c < columns)


LOG2_E = tl.constexpr(1.4426950408889634)
"""Factor from the natural exponent to base 2: exp(x) is exp2(x * log2(e))."""


@triton.jit
def sigmoid(x):
    """Compute 1 / (1 + exp(-x)) as a squared reciprocal root: that is one instruction, a quotient is eight."""
    root = tl.rsqrt(1.0 + tl.exp2(x * -LOG2_E))
    return root * root


@triton.jit
def silu(x):
    """Compute x * sigmoid(x)."""
    return x * sigmoid(x)


@triton.jit
def silu_and_slope(x):
    """Compute silu(x) and its derivative."""
    s = sigmoid(x)
    return x * s, s * (1.0 + x * (1.0 - s))


@triton.jit
def inverse_rms(x, eps, DIM: tl.constexpr):
    """Compute 1 / sqrt(mean(x^2) + eps) over the last dimension, DIM entries and zeros; that dimension keeps size 1."""
    return tl.rsqrt(tl.sum(x * x, axis=-1, keep_dims=True) / DIM + eps)


@triton.jit
def rms_gradient(u, du, inner, scale, DIM: tl.constexpr):
    """Compute the gradient of x for u = x * scale, scale = `inverse_rms`(x), from du and inner = sum(du * u)."""
    return scale * (du - u * (inner / DIM))
