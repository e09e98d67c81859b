"""Addition to the residual stream, and the RMSNorm of the sum."""

from typing import get_args

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_number, check_shape, check_tensors
from nas.kernels.residual_norm import reference
from nas.kernels.triton_support import choose_elementwise

MAX_CHANNELS = 4096
"""Largest number of channels that the Triton kernels support."""


def residual_norm(
    x: Tensor, delta: Tensor, weight: Tensor, *, eps: float = 1e-6, impl: Impl = "auto"
) -> tuple[Tensor, Tensor]:
    """Add delta to x, and normalise the sum over its channels.

    That is::

        total = x + delta
        y     = weight * total / sqrt(mean(total^2) + eps)

    Source: RMSNorm (Zhang & Sennrich 2019).

    Args:
        x: [..., D], the residual stream.
        delta: [..., D], the output of a layer, in the shape of x.
        weight: [D].
        eps: added to the mean square.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; float16, bfloat16 and float32), or "auto":
                Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        total and y [..., D]; total in the promoted dtype of x and delta. Triton returns y in the dtype of total, or
        autocast's dtype under autocast; PyTorch returns it in the dtype that its RMSNorm gives.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it. Values of tensors are
            not checked: they are the caller's duty.
    """
    check_choice("impl", impl, get_args(Impl))
    check_number("eps", eps, least=0)
    check_tensors(x=x, delta=delta, weight=weight)
    if x.ndim == 0 or 0 in x.shape:
        raise ValueError(f"x has shape {list(x.shape)}; it must be [..., D] with every size at least 1.")
    check_shape("delta", delta, tuple(x.shape), "the shape of x")
    channels = x.shape[-1]
    check_shape("weight", weight, (channels,), "[D]")
    limit = None
    if channels > MAX_CHANNELS:
        limit = f"x has {channels} channels, and Triton's kernels take up to {MAX_CHANNELS}"
    if choose_elementwise(
        impl, x, delta, weight, operation="residual_norm.residual_norm", limit=limit, channels=channels
    ) == "triton":  # fmt: skip
        from nas.kernels.residual_norm import triton_op

        return triton_op.residual_norm(x, delta, weight, eps)
    return reference.residual_norm(x, delta, weight, eps)


__all__ = ["residual_norm"]
