"""Helpers of the softmax kernels: launch shapes, loading and storing rows, softmax weights and their gradients.

A matrix of one head is given by the pointer to its first row and the stride between tokens. Programs advance that
pointer to their tile in 64 bits; offsets within a tile fit 32.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from nas.kernels.triton_dot import dot
from nas.kernels.triton_support import narrowest

LOG2_E = 1.4426950408889634
"""Factor from the natural exponent to base 2: exp(s) is exp2(s * log2(e))."""

LOWEST = tl.constexpr(-1e38)
"""Initial maximum of a row: finite, so that a row without keys never computes -inf - -inf."""


class Launch(NamedTuple):
    """Shape of a kernel's programs: tile sizes in queries and keys, warps, and stages of the pipelined loads.

    ``registers`` limits those of a thread, so that several programs run on a multiprocessor at once; None for no limit.
    """

    queries: int
    keys: int
    warps: int
    stages: int
    registers: int | None = None


def padded(dim: int, dtype: torch.dtype) -> int:
    """Return the columns of a tile with rows of ``dim``: a power of two that a product of ``dtype`` allows."""
    return max(narrowest(dtype), triton.next_power_of_2(dim))


@triton.jit
def load_rows(
    matrix,
    rows,
    present,
    stride,
    dim,
    WIDTH: tl.constexpr,
    WHOLE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Load [M, WIDTH] from ``rows`` [M]: zero past ``dim`` unless WHOLE, and, if MASKED, in rows not ``present``."""
    column = tl.arange(0, WIDTH)[None, :]
    pointers = matrix + rows[:, None] * stride + column
    if WHOLE:
        tile = tl.load(pointers, mask=present[:, None], other=0.0) if MASKED else tl.load(pointers)
    else:
        inside = (present[:, None] & (column < dim)) if MASKED else (column < dim)
        tile = tl.load(pointers, mask=inside, other=0.0)
    return tile


@triton.jit
def store_rows(matrix, rows, present, stride, dim, tile, WIDTH: tl.constexpr):
    """Store [M, WIDTH] in the ``present`` ones of ``rows`` [M], up to column ``dim``."""
    column = tl.arange(0, WIDTH)[None, :]
    mask = present[:, None] & (column < dim)
    tl.store(matrix + rows[:, None] * stride + column, tile.to(matrix.dtype.element_ty), mask=mask)


@triton.jit
def permuted_chunks(order, position, end, N, C: tl.constexpr):
    """Return the chunk of each position of the permuted key axis (see `triton_index`); N past ``end``."""
    return tl.load(order + position // C, mask=position < end, other=N)


@triton.jit
def weights(k, q, bias, lse, visible, scale, MASKED: tl.constexpr, PRECISION: tl.constexpr):
    """Recompute the softmax, [keys, queries], from ``lse`` [queries], with ``bias`` [keys] in base 2 on the scores.

    With MASKED only the pairs in ``visible`` [keys, queries] count. Queries with lse = inf have zero weights.
    """
    s = dot(k, tl.trans(q), None, PRECISION) * scale + (bias[:, None] - lse[None, :])
    if MASKED:
        s = tl.where(visible, s, float("-inf"))
    return tl.exp2(s)


@triton.jit
def score_gradients(p, v, do, delta, PRECISION: tl.constexpr):
    """Return the gradient, [keys, queries], of the scores with softmax ``p``; ``delta`` [queries] sums do * o."""
    return p * (dot(v, tl.trans(do), None, PRECISION) - delta[None, :])


@triton.jit
def raise_top(acc, total, top, highest):
    """Rescale the sums, relative to ``top``, to the larger of ``top`` and ``highest``; return them and that maximum."""
    new_top = tl.maximum(top, highest)
    rescale = tl.exp2(top - new_top)
    return acc * rescale[:, None], total * rescale, new_top


@triton.jit
def accumulate(acc, total, p, v, PRECISION: tl.constexpr):
    """Add p v and p to their sums.

    The casts change no bit, but they use the product. Otherwise Triton (3.6 to 3.9) starts the next tile's product
    before this one has ended, and ptxas inserts a wait between all of a kernel's products.
    """
    acc = dot(p.to(v.dtype), v, acc, PRECISION)
    return acc.to(tl.int32, bitcast=True).to(tl.float32, bitcast=True), total + tl.sum(p, 1)
