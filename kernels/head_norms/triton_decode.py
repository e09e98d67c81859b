"""Norms of queries and keys of a decoded token in one Triton kernel."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl
from torch import Tensor

from nas.kernels.head_norms.reference import Norms
from nas.kernels.head_norms.triton_kernels import forward
from nas.kernels.head_norms.triton_op import WARPS, tiling_of
from nas.kernels.triton_elementwise import rows
from nas.kernels.triton_support import on_device, operand_dtype


def norms_of_both(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None,
    k_weight: Tensor | None,
    linear_heads: int | None,
    softmax_heads: int | None,
    eps: float,
) -> tuple[Norms, Norms]:
    """Compute `nas.kernels.head_norms.decode.norms_of_both` of valid arguments."""
    tiling = tiling_of(q.shape[-1], linear_heads or 0, softmax_heads or 0)
    queries, keys = rows(q), rows(k)
    l2, rms = (
        q.new_empty(2, *q.shape, dtype=operand_dtype(q)) if wanted else None
        for wanted in (tiling.HAS_L2, tiling.HAS_RMS)
    )
    grid = (tiling.GROUPS * triton.cdiv(len(queries), tiling.BT), 2)
    with on_device(q):
        _forward_of_both[grid](
            *(queries, keys, q_weight, k_weight, l2, rms, len(queries), queries.stride(0), keys.stride(0), eps),
            **tiling._asdict(),
            num_warps=WARPS,
        )
    of_q, of_k = (
        (
            None if l2 is None else l2[index].unflatten(-1, (linear_heads, -1)),
            None if rms is None else rms[index].unflatten(-1, (softmax_heads, -1)),
        )
        for index in range(2)
    )
    return of_q, of_k


@triton.jit(do_not_specialize=["N"])
def _forward_of_both(
    q, k, q_weight, k_weight, l2, rms,
    N, q_stride, k_stride, eps,
    GROUPS: tl.constexpr, M: tl.constexpr, DIM: tl.constexpr,
    BT: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, HAS_L2: tl.constexpr, HAS_RMS: tl.constexpr,
):  # fmt: skip
    """Compute l2 and rms [2, N, GROUPS * M * DIM] of q and k for BT tokens of one group of one of them."""
    if tl.program_id(1) == 0:
        forward(
            q, q_weight, l2, rms, N, q_stride, eps,
            GROUPS, M, DIM, BT, BM, BD, HAS_L2, HAS_RMS,
        )  # fmt: skip
    else:
        behind = tl.cast(N, tl.int64) * (GROUPS * M * DIM)
        if HAS_L2:
            l2 += behind
        if HAS_RMS:
            rms += behind
        forward(
            k, k_weight, l2, rms, N, k_stride, eps,
            GROUPS, M, DIM, BT, BM, BD, HAS_L2, HAS_RMS,
        )  # fmt: skip
