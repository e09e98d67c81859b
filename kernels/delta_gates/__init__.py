"""Decay and write strength of the gated delta rule from their projections."""

from typing import get_args

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_number, check_shape, check_tensors
from nas.kernels.delta_gates import reference
from nas.kernels.triton_support import choose_elementwise

MAX_HEADS = 256
"""Largest number of heads that the Triton kernels support."""


def delta_gates(
    decay: Tensor,
    write: Tensor,
    log_rate: Tensor,
    decay_bias: Tensor,
    write_bias: Tensor | None = None,
    *,
    strongest: float = 1.0,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """Compute the log-decay and the write strength of each token and head.

    That is::

        g    = -exp(log_rate) * softplus(decay + decay_bias)
        beta = strongest * sigmoid(write + write_bias)

    Source: Gated DeltaNet (Yang et al. 2025); its decay is that of Mamba-2 (Dao & Gu 2024).

    Args:
        decay: [B, T, H].
        write: [B, T, H].
        log_rate: [H], natural logarithm of the decay rates.
        decay_bias: [H].
        write_bias: [H]; None if write contains it.
        strongest: upper limit of the write strengths; 2 for state transitions with negative eigenvalues.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; float16, bfloat16 and float32), or "auto":
                Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        g and beta [B, T, H]. Triton returns float32; PyTorch returns the promoted dtypes of the inputs.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it. Values of tensors are
            not checked: they are the caller's duty.
    """
    check_choice("impl", impl, get_args(Impl))
    check_number("strongest", strongest, least=0)
    vectors = {"log_rate": log_rate, "decay_bias": decay_bias, "write_bias": write_bias}
    check_tensors(("write_bias",), decay=decay, write=write, **vectors)
    if decay.ndim != 3 or 0 in decay.shape:
        raise ValueError(f"decay has shape {list(decay.shape)}; it must be [B, T, H] with every size at least 1.")
    check_shape("write", write, tuple(decay.shape), "the shape of decay")
    heads = decay.shape[2]
    given = {name: vector for name, vector in vectors.items() if vector is not None}
    for name, vector in given.items():
        check_shape(name, vector, (heads,), "[H]")
    limit = f"decay has {heads} heads, and Triton's kernels take up to {MAX_HEADS}" if heads > MAX_HEADS else None
    if choose_elementwise(
        impl, decay, write, *given.values(), operation="delta_gates.delta_gates", limit=limit, heads=heads
    ) == "triton":  # fmt: skip
        from nas.kernels.delta_gates import triton_op

        return triton_op.delta_gates(decay, write, log_rate, decay_bias, write_bias, float(strongest))
    return reference.delta_gates(decay, write, log_rate, decay_bias, write_bias, strongest)


__all__ = ["delta_gates"]
