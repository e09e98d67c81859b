"""The gated activation of SwiGLU: one half of the channels gates the other."""

from typing import get_args

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_tensors
from nas.kernels.swiglu import reference
from nas.kernels.triton_support import choose_elementwise


def swiglu(x: Tensor, *, impl: Impl = "auto") -> Tensor:
    """Gate the second half of the channels with the SiLU of the first half.

    That is::

        y = silu(gate) * up        with gate, up = the two halves of x

    Source: Shazeer 2020 (arXiv 2002.05202).

    Args:
        x: [..., 2 * hidden].
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; float16, bfloat16 and float32), or "auto":
                Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        [..., hidden] in the dtype of x; from Triton under autocast in autocast's dtype.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it. Values of tensors are
            not checked: they are the caller's duty.
    """
    check_choice("impl", impl, get_args(Impl))
    check_tensors(x=x)
    if x.ndim == 0 or 0 in x.shape or x.shape[-1] % 2:
        raise ValueError(f"x has shape {list(x.shape)}; it must be [..., 2 * hidden] with every size at least 1.")
    if choose_elementwise(impl, x, operation="swiglu.swiglu", hidden=x.shape[-1] // 2) == "triton":
        from nas.kernels.swiglu import triton_op

        return triton_op.swiglu(x)
    return reference.swiglu(x)


__all__ = ["swiglu"]
