"""Norms of queries and keys of a decoded token in one kernel, which takes longer to start than to compute."""

from typing import get_args

import torch
from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_number, check_shape, check_tensors
from nas.kernels.head_norms import check_heads, limit_of, reference
from nas.kernels.head_norms.reference import Norms
from nas.kernels.triton_support import choose_elementwise


@torch.no_grad()
def norms_of_both(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None = None,
    k_weight: Tensor | None = None,
    *,
    linear_heads: int | None = None,
    softmax_heads: int | None = None,
    eps: float = 1e-6,
    impl: Impl = "auto",
) -> tuple[Norms, Norms]:
    """Compute `nas.kernels.head_norms` of queries and of keys; no gradients.

    Args:
        q, k: [B, T, D], of one dtype.
        q_weight, k_weight: weights of the RMSNorms, as ``weight`` of `head_norms`.
        linear_heads, softmax_heads, eps, impl: as for `head_norms`.

    Returns:
        l2 and rms of q, and those of k.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it.
    """
    check_choice("impl", impl, get_args(Impl))
    check_number("eps", eps, least=0)
    check_tensors(("q_weight", "k_weight"), q=q, k=k, q_weight=q_weight, k_weight=k_weight)
    for x, weight in ((q, q_weight), (k, k_weight)):
        check_heads(x, weight, linear_heads, softmax_heads)
    check_shape("k", k, tuple(q.shape), "the shape of q")
    tensors = [x for x in (q, k, q_weight, k_weight) if x is not None]
    if choose_elementwise(
        impl, *tensors, operation="head_norms.norms_of_both", limit=limit_of(q, linear_heads, softmax_heads),
        channels=q.shape[2], linear_heads=linear_heads or 0, softmax_heads=softmax_heads or 0,
    ) == "triton":  # fmt: skip
        from nas.kernels.head_norms import triton_decode

        return triton_decode.norms_of_both(q, k, q_weight, k_weight, linear_heads, softmax_heads, eps)
    return reference_of_both(q, k, q_weight, k_weight, linear_heads, softmax_heads, eps)


def reference_of_both(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    linear_heads: int | None,
    softmax_heads: int | None,
    eps: float,
) -> tuple[Norms, Norms]:
    """Compute `norms_of_both` of valid arguments."""
    heads = linear_heads, softmax_heads, eps
    return reference.head_norms(q, q_weight, *heads), reference.head_norms(k, k_weight, *heads)


__all__ = ["norms_of_both"]
