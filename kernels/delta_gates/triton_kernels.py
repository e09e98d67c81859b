"""Kernels of decay and write strength. A tile has all heads of some tokens."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl


@triton.jit
def position(N, H: tl.constexpr, BT: tl.constexpr, BH: tl.constexpr):
    """Return this program's tokens [BT, 1], the heads [1, BH], and the mask of those that exist."""
    t, h = tl.program_id(0) * BT + tl.arange(0, BT)[:, None], tl.arange(0, BH)[None, :]
    return t.to(tl.int64), h, (t < N) & (h < H)


@triton.jit
def softplus(x):
    """Compute log(1 + exp(x)) = max(x, 0) + 2 artanh(z) for z = y / (2 + y), y = exp(-|x|).

    The series of artanh at z <= 1/3 keeps the relative precision of small results, which log(1 + y) loses.
    """
    y = tl.exp(-tl.abs(x))
    z = y / (2.0 + y)
    s = z * z
    series = 1 / 11 + s * (1 / 13)
    series = 1 / 7 + s * (1 / 9 + s * series)
    series = 1.0 + s * (1 / 3 + s * (1 / 5 + s * series))
    return tl.maximum(x, 0.0) + 2.0 * z * series


@triton.jit
def load_biased(x, bias, t, h, inside, stride, H: tl.constexpr, HAS_BIAS: tl.constexpr):
    """Load a tile of x, in float32 and with the bias added."""
    tile = tl.load(x + t * stride + h, mask=inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        tile += tl.load(bias + h, mask=h < H, other=0.0).to(tl.float32)
    return tile


@triton.jit(do_not_specialize=["N"])
def forward(
    decay, write, log_rate, decay_bias, write_bias, g, beta,
    N, decay_stride, write_stride, strongest,
    H: tl.constexpr, BT: tl.constexpr, BH: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Compute g and beta [N, H] for BT tokens."""
    t, h, inside = position(N, H, BT, BH)
    rate = tl.exp(tl.load(log_rate + h, mask=h < H, other=0.0).to(tl.float32))
    x = load_biased(decay, decay_bias, t, h, inside, decay_stride, H, True)
    tl.store(g + t * H + h, -rate * softplus(x), mask=inside)
    x = load_biased(write, write_bias, t, h, inside, write_stride, H, HAS_BIAS)
    tl.store(beta + t * H + h, strongest * tl.sigmoid(x), mask=inside)


@triton.jit(do_not_specialize=["N"])
def backward(
    dg, dbeta, decay, write, log_rate, decay_bias, write_bias, ddecay, dwrite, dvectors,
    N, dg_stride, dbeta_stride, decay_stride, write_stride, ddecay_stride, dwrite_stride, strongest,
    H: tl.constexpr, BT: tl.constexpr, BH: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Compute ddecay and dwrite for BT tokens, and their part of dvectors [programs, 3, H].

    These are the gradients of log_rate, decay_bias and write_bias.
    """
    t, h, inside = position(N, H, BT, BH)
    rate = tl.exp(tl.load(log_rate + h, mask=h < H, other=0.0).to(tl.float32))
    x = load_biased(decay, decay_bias, t, h, inside, decay_stride, H, True)
    scaled = -rate * tl.load(dg + t * dg_stride + h, mask=inside, other=0.0).to(tl.float32)
    gradient = scaled * tl.sigmoid(x)
    tl.store(ddecay + t * ddecay_stride + h, gradient.to(ddecay.dtype.element_ty), mask=inside)
    opened = tl.sigmoid(load_biased(write, write_bias, t, h, inside, write_stride, H, HAS_BIAS))
    of_beta = tl.load(dbeta + t * dbeta_stride + h, mask=inside, other=0.0).to(tl.float32)
    of_write = strongest * of_beta * opened * (1.0 - opened)
    tl.store(dwrite + t * dwrite_stride + h, of_write.to(dwrite.dtype.element_ty), mask=inside)
    place = dvectors + tl.program_id(0).to(tl.int64) * (3 * H) + tl.arange(0, BH)
    tl.store(place, tl.sum(scaled * softplus(x), axis=0), mask=tl.arange(0, BH) < H)
    tl.store(place + H, tl.sum(gradient, axis=0), mask=tl.arange(0, BH) < H)
    tl.store(place + 2 * H, tl.sum(of_write, axis=0), mask=tl.arange(0, BH) < H)
