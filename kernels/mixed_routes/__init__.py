"""Routes of the branches in a mixture of each branch alone and both with a router."""

from typing import get_args

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_shape, check_tensors
from nas.kernels.mixed_routes import reference
from nas.kernels.triton_support import choose_elementwise


def mixed_routes(
    weights: Tensor, first: Tensor, second: Tensor, hybrid: Tensor, *, impl: Impl = "auto"
) -> tuple[Tensor, Tensor]:
    """Return the mean route of each branch, over the branch alone, which keeps every chunk, and the routed branch.

    That is, for the first branch::

        route = (first + hybrid * weights_0) / (first + hybrid)        # 1 where the divisor is 0

    Args:
        weights: [..., 2], weights of both branches that a router gives to each chunk.
        first, second, hybrid: scalars, weights of the first branch alone, of the second alone, and of both.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; float16, bfloat16 and float32), or "auto":
                Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        Routes [...] of the first and the second branch, in the dtype of ``weights``.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it. Values of tensors are
            not checked: they are the caller's duty.
    """
    check_choice("impl", impl, get_args(Impl))
    check_tensors(weights=weights, first=first, second=second, hybrid=hybrid)
    if weights.ndim == 0 or weights.shape[-1] != 2 or 0 in weights.shape:
        raise ValueError(f"weights has shape {list(weights.shape)}; it must be [..., 2] with every size at least 1.")
    for name, scalar in (("first", first), ("second", second), ("hybrid", hybrid)):
        check_shape(name, scalar, (), "a scalar")
    if choose_elementwise(impl, weights, operation="mixed_routes.mixed_routes") == "triton":
        from nas.kernels.mixed_routes import triton_op

        return triton_op.mixed_routes(weights, first, second, hybrid)
    return reference.mixed_routes(weights, first, second, hybrid)


__all__ = ["mixed_routes"]
