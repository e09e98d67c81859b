"""Causal depthwise convolution over time, then SiLU."""

from typing import get_args

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_tensors
from nas.kernels.documents import read_borders
from nas.kernels.short_convolution import reference
from nas.kernels.triton_support import choose_elementwise

MAX_SIZE = 8
"""Longest convolution that the Triton kernels support: they keep a window of that many tokens in registers."""


def short_convolution(x: Tensor, weight: Tensor, *, cu_seqlens: Tensor | None = None, impl: Impl = "auto") -> Tensor:
    """Convolve each channel over its last W tokens, then apply SiLU.

    That is::

        y_t = silu(sum_w weight[:, w] * x_{t - W + 1 + w})        with x_t = 0 for t < 0

    Source: the short convolution of Gated DeltaNet (Yang et al. 2025), as in H3 (Fu et al. 2023).

    Args:
        x: [B, T, D], any T >= 1.
        weight: [D, W], the current token's weight last; W up to 8 for Triton, any for the reference.
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
    borders = None if cu_seqlens is None else read_borders(cu_seqlens, "x", x)
    size = weight.shape[1]
    limit = f"weight has W = {size}, and Triton's kernels take up to {MAX_SIZE}" if size > MAX_SIZE else None
    if choose_elementwise(
        impl, x, weight, operation="short_convolution.short_convolution", limit=limit, channels=x.shape[2], size=size,
        packed=int(borders is not None),
    ) == "triton":  # fmt: skip
        from nas.kernels.short_convolution import triton_op

        return triton_op.short_convolution(x, weight, borders)
    return reference.short_convolution(x, weight, borders)


__all__ = ["short_convolution"]
