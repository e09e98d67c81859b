"""Causal depthwise convolution over time, then SiLU, and for queries and keys an l2 norm of each head."""

from typing import get_args

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_tensors
from nas.kernels.documents import read_borders
from nas.kernels.short_convolution import reference
from nas.kernels.triton_support import choose_elementwise

MAX_SIZE = 8
"""Longest convolution that the Triton kernels support: they keep a window of that many tokens in registers."""


MAX_HEAD_CHANNELS = 512
"""Largest number of channels of a head that the Triton kernels normalise."""


def short_convolution(
    x: Tensor,
    weight: Tensor,
    *,
    heads: int | None = None,
    cu_seqlens: Tensor | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """Convolve each channel over its last W tokens, then apply SiLU and, with ``heads``, an l2 norm.

    That is::

        y_t = silu(sum_w weight[:, w] * x_{t - W + 1 + w})        with x_t = 0 for t < 0
        h_t = h_t / max(|h_t|, 1e-12)                             per head h of y, with ``heads``

    Source: the short convolution of Gated DeltaNet (Yang et al. 2025), as in H3 (Fu et al. 2023).

    Args:
        x: [B, T, D], any T >= 1.
        weight: [D, W], the current token's weight last; W up to 8 for Triton, any for the reference.
        heads: number of heads, which divides D, over whose channels y is l2-normalised; None for no norm.
        cu_seqlens: [documents + 1] int32 or int64, for B = 1: document d has the tokens from cu_seqlens[d] to
            cu_seqlens[d + 1], and x_t = 0 before its first token. The host reads the values: on the CPU at once, on a
            GPU after waiting for it.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; float16, bfloat16 and float32), or "auto":
                Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        [B, T, D] in the dtype of x, or in autocast's dtype under autocast.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it. Values of x and
            weight are not checked: they are the caller's duty.
    """
    check_choice("impl", impl, get_args(Impl))
    check_tensors(x=x, weight=weight)
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"x has shape {list(x.shape)}; it must be [B, T, D] with every size at least 1.")
    if weight.ndim != 2 or weight.shape[0] != x.shape[2] or weight.shape[1] == 0:
        raise ValueError(
            f"weight has shape {list(weight.shape)}; it must be [D, W] with D = {x.shape[2]} and W at least 1."
        )
    if heads is not None and (isinstance(heads, bool) or heads < 1 or x.shape[2] % heads):
        raise ValueError(f"heads={heads!r} is not allowed; it must divide the {x.shape[2]} channels of x.")
    borders = None if cu_seqlens is None else read_borders(cu_seqlens, "x", x)
    if choose_elementwise(
        impl, x, weight, operation="short_convolution.short_convolution", limit=_limit(x, weight, heads),
        channels=x.shape[2], size=weight.shape[1], packed=int(borders is not None), heads=heads or 0,
    ) == "triton":  # fmt: skip
        from nas.kernels.short_convolution import triton_op

        return triton_op.short_convolution(x, weight, borders, heads)
    return reference.short_convolution(x, weight, borders, heads)


def _limit(x: Tensor, weight: Tensor, heads: int | None) -> str | None:
    """Return why the Triton kernels cannot take valid arguments; None if they can."""
    size, channels = weight.shape[1], 0 if heads is None else x.shape[2] // heads
    if size > MAX_SIZE:
        return f"weight has W = {size}, and Triton's kernels take up to {MAX_SIZE}"
    if channels > MAX_HEAD_CHANNELS:
        return f"x has {channels} channels in a head, and Triton's kernels normalise up to {MAX_HEAD_CHANNELS}"
    return None


__all__ = ["short_convolution"]
