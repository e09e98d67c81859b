"""The short convolution one token at a time, with its last inputs as state; no step waits for the GPU.

>>> import torch
>>> from nas.kernels.short_convolution.decode import short_convolution_step
>>> weight, past = torch.ones(1, 3), torch.zeros(1, 2, 1)
>>> for token in range(3):
...     y = short_convolution_step(torch.ones(1, 1), past, weight)
>>> past.flatten().tolist(), round(y.item(), 3)  # silu(3)
([1.0, 1.0], 2.858)
"""

from typing import get_args

import torch
from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_shape, check_tensors
from nas.kernels.short_convolution import reference
from nas.kernels.triton_support import choose_elementwise


@torch.no_grad()
def short_convolution_step(x: Tensor, past: Tensor, weight: Tensor, *, impl: Impl = "auto") -> Tensor:
    """Compute one token of `nas.kernels.short_convolution`; no gradients, no host synchronisation.

    Args:
        x: [B, D].
        past: [B, W - 1, D] inputs of the last tokens, oldest first, zeros before a sequence; updated in place.
        weight: [D, W], the current token's weight last.
        impl: as for `short_convolution`.

    Returns:
        [B, D] in the dtype of x, or in autocast's dtype under autocast.

    Raises:
        ValueError: a shape, dtype, device or option is not as above; the message names it.
    """
    check_choice("impl", impl, get_args(Impl))
    check_tensors(x=x, past=past, weight=weight)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x has shape {list(x.shape)}; it must be [B, D] with every size at least 1.")
    batch, channels = x.shape
    if weight.ndim != 2 or weight.shape[0] != channels or weight.shape[1] == 0:
        raise ValueError(
            f"weight has shape {list(weight.shape)}; it must be [D, W] with D = {channels} and W at least 1."
        )
    size = weight.shape[1]
    check_shape("past", past, (batch, size - 1, channels), "[B, W - 1, D]")
    if not past.is_contiguous():
        raise ValueError(f"past has strides {past.stride()}; it must be contiguous.")
    if choose_elementwise(
        impl, x, past, weight, operation="short_convolution.short_convolution_step", channels=channels, size=size
    ) == "triton":  # fmt: skip
        from nas.kernels.short_convolution import triton_decode

        return triton_decode.step(x, past, weight)
    return reference_step(x, past, weight)


def reference_step(x: Tensor, past: Tensor, weight: Tensor) -> Tensor:
    """Convolve the last W inputs."""
    seen = torch.cat([past, x.unsqueeze(1)], dim=1)
    past.copy_(seen[:, 1:])
    return reference.short_convolution(seen, weight)[:, -1]


__all__ = ["short_convolution_step"]
