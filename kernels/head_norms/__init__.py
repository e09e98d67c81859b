"""Norms of queries and keys: l2 for the heads of the linear branch, RMSNorm for those of the softmax branch."""

from typing import get_args, overload

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_number, check_shape, check_tensors
from nas.kernels.head_norms import reference
from nas.kernels.triton_support import choose_elementwise

MAX_CHANNELS = 4096
"""Largest number of channels of a head that the Triton kernels support; of a linear head where there are any."""


@overload
def head_norms(
    x: Tensor, weight: Tensor, *, linear_heads: int, softmax_heads: int, eps: float = 1e-6, impl: Impl = "auto"
) -> tuple[Tensor, Tensor]: ...


@overload
def head_norms(
    x: Tensor, weight: Tensor, *, linear_heads: None = None, softmax_heads: int, eps: float = 1e-6, impl: Impl = "auto"
) -> tuple[None, Tensor]: ...


@overload
def head_norms(
    x: Tensor,
    weight: None = None,
    *,
    linear_heads: int,
    softmax_heads: None = None,
    eps: float = 1e-6,
    impl: Impl = "auto",
) -> tuple[Tensor, None]: ...


def head_norms(
    x: Tensor,
    weight: Tensor | None = None,
    *,
    linear_heads: int | None = None,
    softmax_heads: int | None = None,
    eps: float = 1e-6,
    impl: Impl = "auto",
) -> tuple[Tensor | None, Tensor | None]:
    """Normalise x for both branches of a mixer, each over its own split of the channels into heads.

    With h a head's channels::

        l2  = h / max(|h|, 1e-12)                             per linear head
        rms = weight * h / sqrt(mean(h^2) + eps)              per softmax head

    A branch whose number of heads is None is not computed. Sources: Gated DeltaNet (Yang et al. 2025); RMSNorm (Zhang &
    Sennrich 2019).

    Args:
        x: [B, T, D], any T >= 1.
        weight: [D / softmax_heads], shared by the softmax heads; None exactly if softmax_heads is.
        linear_heads: divides D and softmax_heads.
        softmax_heads: divides D.
        eps: added to the mean square in the RMSNorm.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; float16, bfloat16 and float32), or "auto":
                Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        l2 [B, T, linear_heads, D / linear_heads] and rms [B, T, softmax_heads, D / softmax_heads], or None for a branch
        without heads. Triton returns the dtype of x, or autocast's dtype under autocast; PyTorch returns the promoted
        dtype of its inputs.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it. Values of tensors are
            not checked: they are the caller's duty.
    """
    check_choice("impl", impl, get_args(Impl))
    check_number("eps", eps, least=0)
    check_heads(x, weight, linear_heads, softmax_heads)
    tensors = (x,) if weight is None else (x, weight)
    if choose_elementwise(
        impl, *tensors, operation="head_norms.head_norms", limit=limit_of(x, linear_heads, softmax_heads),
        channels=x.shape[2], linear_heads=linear_heads or 0, softmax_heads=softmax_heads or 0,
    ) == "triton":  # fmt: skip
        from nas.kernels.head_norms import triton_op

        return triton_op.head_norms(x, weight, linear_heads, softmax_heads, eps)
    return reference.head_norms(x, weight, linear_heads, softmax_heads, eps)


def limit_of(x: Tensor, linear_heads: int | None, softmax_heads: int | None) -> str | None:
    """Return why the Triton kernels cannot take heads of valid arguments; None if they can."""
    widest = x.shape[2] // (linear_heads or softmax_heads or 1)
    if widest <= MAX_CHANNELS:
        return None
    return f"x has {widest} channels in a head, and Triton's kernels take up to {MAX_CHANNELS}"


def check_heads(x: Tensor, weight: Tensor | None, linear_heads: int | None, softmax_heads: int | None) -> None:
    """Raise ValueError unless the tensors and numbers of heads form a valid call of `head_norms`."""
    check_tensors(("weight",), x=x, weight=weight)
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"x has shape {list(x.shape)}; it must be [B, T, D] with every size at least 1.")
    channels = x.shape[2]
    for name, heads in (("linear_heads", linear_heads), ("softmax_heads", softmax_heads)):
        if heads is None:
            continue
        if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1 or channels % heads:
            raise ValueError(f"{name}={heads!r} is not allowed; it must divide the {channels} channels of x.")
    if softmax_heads is None and linear_heads is None:
        raise ValueError("linear_heads and softmax_heads are both None; give at least one of them.")
    if softmax_heads is None:
        if weight is not None:
            raise ValueError("weight was given without softmax_heads; give weight=None, or softmax_heads.")
        return
    if linear_heads is not None and softmax_heads % linear_heads:
        raise ValueError(f"linear_heads={linear_heads} is not allowed; it must divide softmax_heads={softmax_heads}.")
    if weight is None:
        raise ValueError(f"weight is None; with softmax_heads={softmax_heads} it must be [D / softmax_heads].")
    check_shape("weight", weight, (channels // softmax_heads,), "[D / softmax_heads]")


__all__ = ["head_norms"]
