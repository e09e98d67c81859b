"""Merge of the two branches into one output: a norm for each branch, branch weights, and the output gate."""

from typing import get_args

from torch import Tensor

from nas.kernels.arguments import Impl, check_choice, check_number, check_shape, check_tensors
from nas.kernels.branch_merge import reference
from nas.kernels.triton_support import choose_elementwise

MAX_CHANNELS = 2048
"""Largest number of channels of a head that the Triton kernels support."""


def branch_merge(
    softmax_o: Tensor | None,
    linear_o: Tensor | None,
    softmax_weight: Tensor | None,
    linear_weight: Tensor | None,
    scores: Tensor | None,
    gate: Tensor,
    *,
    mixture: Tensor | None = None,
    eps: float = 1e-6,
    impl: Impl = "auto",
) -> Tensor:
    """Normalise each branch's heads, weigh the branches against each other, and gate the sum.

    Per token and softmax head, with norm(o) = weight * o / sqrt(mean(o^2) + eps) over its channels::

        share = softmax(scores of the head)                                       # (softmax branch, linear branch)
        y     = (share_0 norm(softmax_o) + share_1 norm(linear_o)) * silu(gate)

    With one branch alone, y = norm(o) * silu(gate). In a mixture of each branch alone and both (w_0, w_1, w_2),
    w_i + w_2 share_i takes the place of share_i. Sources: NAtS-L (Deng et al. 2026, arXiv 2602.03681); the gate as
    in Gated DeltaNet (Yang et al. 2025).

    Args:
        softmax_o: [B, T, Hs, Vs], or None.
        linear_o: [B, T, Hl, Vl] with Hl * Vl = Hs * Vs, or None; it is split into heads as softmax_o is.
        softmax_weight, linear_weight: [Vs], each None exactly if its branch is None.
        scores: [B, T, 2 * Hs], the two scores of a head side by side; None exactly if only one branch is given.
        gate: [B, T, Hs * Vs].
        mixture: [3], weights of the softmax branch alone, of the linear branch alone, and of both; only with both
            branches. None for (0, 0, 1).
        eps: added to the mean squares.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; float16, bfloat16 and float32), or "auto":
                Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        [B, T, Hs * Vs]. Triton returns the dtype of gate, or autocast's dtype under autocast; PyTorch returns the
        promoted dtype of its inputs.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it. Values of tensors are
            not checked: they are the caller's duty.
    """
    check_choice("impl", impl, get_args(Impl))
    check_number("eps", eps, least=0)
    optional = {"softmax_o": softmax_o, "linear_o": linear_o, "softmax_weight": softmax_weight}
    optional |= {"linear_weight": linear_weight, "scores": scores, "mixture": mixture}
    check_tensors(optional, gate=gate, **optional)
    if gate.ndim != 3 or 0 in gate.shape:
        raise ValueError(f"gate has shape {list(gate.shape)}; it must be [B, T, Hs * Vs] with every size at least 1.")
    _check_branch("softmax", softmax_o, softmax_weight, gate)
    _check_branch("linear", linear_o, linear_weight, gate)
    _check_pair(softmax_weight, linear_weight, scores, gate)
    if mixture is not None:
        _check_mixture(mixture, scores)
    arguments = (softmax_o, linear_o, softmax_weight, linear_weight, scores, gate, mixture)
    tensors = [x for x in arguments[:-2] if x is not None]
    channels = next(x.shape[0] for x in tensors if x.ndim == 1)
    limit = None
    if channels > MAX_CHANNELS:
        limit = f"a head has {channels} channels, and Triton's kernels take up to {MAX_CHANNELS}"
    if choose_elementwise(
        impl, gate, *tensors, operation="branch_merge.branch_merge", limit=limit, channels=gate.shape[2], V=channels,
        pair=int(scores is not None), mixed=int(mixture is not None),
    ) == "triton":  # fmt: skip
        from nas.kernels.branch_merge import triton_op

        return triton_op.branch_merge(*arguments, eps)
    return reference.branch_merge(*arguments, eps)


def _check_branch(name: str, o: Tensor | None, weight: Tensor | None, gate: Tensor) -> None:
    if (o is None) != (weight is None):
        raise ValueError(f"{name}_o and {name}_weight must be given together; one of them is None.")
    if o is None or weight is None:
        return
    channels = gate.shape[2]
    if o.ndim != 4 or o.shape[:2] != gate.shape[:2] or o.shape[2] * o.shape[3] != channels:
        raise ValueError(
            f"{name}_o has shape {list(o.shape)}; it must be [B, T, H, V] with [B, T, H * V] = {list(gate.shape)}."
        )
    if name == "softmax":
        check_shape("softmax_weight", weight, (o.shape[3],), "[Vs]")
    elif weight.ndim != 1 or weight.shape[0] == 0 or channels % weight.shape[0]:
        raise ValueError(
            f"linear_weight has shape {list(weight.shape)}; it must be [Vs] with Vs a divisor of {channels}."
        )


def _check_pair(
    softmax_weight: Tensor | None, linear_weight: Tensor | None, scores: Tensor | None, gate: Tensor
) -> None:
    if softmax_weight is None and linear_weight is None:
        raise ValueError("softmax_o and linear_o are both None; give at least one of them.")
    if softmax_weight is None or linear_weight is None:
        if scores is not None:
            raise ValueError("scores were given for one branch alone; give scores=None, or softmax_o and linear_o.")
        return
    check_shape("linear_weight", linear_weight, tuple(softmax_weight.shape), "the shape of softmax_weight")
    if scores is None:
        raise ValueError("scores is None; with softmax_o and linear_o it must be [B, T, 2 * Hs].")
    batch, length, channels = gate.shape
    check_shape("scores", scores, (batch, length, 2 * channels // softmax_weight.shape[0]), "[B, T, 2 * Hs]")


def _check_mixture(mixture: Tensor, scores: Tensor | None) -> None:
    if scores is None:
        raise ValueError("mixture was given for one branch alone; give mixture=None, or softmax_o and linear_o.")
    check_shape("mixture", mixture, (3,), "weights of softmax_o alone, linear_o alone and both")


__all__ = ["branch_merge"]
