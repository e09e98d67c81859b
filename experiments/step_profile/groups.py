"""Kinds of kernels: each kernel of a training step belongs to one, by its name and the operations that launched it."""

import importlib
import pkgutil
import re
from collections.abc import Sequence
from functools import cache

GEMM = re.compile(r"gemm|nvjet|cutlass|xmma|splitk|cublas", re.IGNORECASE)
ATTENTION = {"gated_delta_rule": "gated delta rule", "chunk_softmax_attention": "softmax attention"}
ELEMENTWISE = {
    "short_convolution": "short convolutions",
    "head_norms": "norms",
    "delta_gates": "decay and write strength",
    "residual_norm": "additions to the residual stream and norms",
    "branch_merge": "merge of branches, output norm and gate",
    "swiglu": "SwiGLU activation",
    "mixed_routes": "routes of mixtures",
}
"""Operations whose kernels have the same names, so that the operation that launched a kernel decides."""
AGAIN = "convolutions and norms, computed again"
SUMS = "sums: partial gradients of weights"
BY_OPERATION = (
    ("Optimizer.step", "optimiser"),
    ("clipping", "clipping"),
    ("aten::mm", "matrix products"),
    ("aten::bmm", "matrix products"),
    ("aten::addmm", "matrix products"),
    ("rms_norm", "norms"),
    ("RmsNorm", "norms"),
    ("cross_entropy", "loss and embedding"),
    ("softmax", "loss and embedding"),
    ("SoftmaxBackward", "loss and embedding"),
    ("NllLoss", "loss and embedding"),
    ("nll_loss", "loss and embedding"),
    ("embedding", "loss and embedding"),
    ("Embedding", "loss and embedding"),
    ("aten::copy_", "casts and copies"),
    ("aten::cat", "casts and copies"),
    ("aten::fill_", "casts and copies"),
    ("aten::zero_", "casts and copies"),
    ("aten::add", "additions: residual stream, sums of gradients"),
    ("aten::sum", SUMS),
)
"""Part of an operation's name, and the group of its kernels; the first match counts."""
OTHER = "other"


@cache
def kernels_of(folder: str) -> frozenset[str]:
    """Return the names of all Triton functions in a folder of `nas.kernels`; empty without Triton."""
    try:
        from triton.runtime.jit import KernelInterface
    except ImportError:
        return frozenset()
    package = importlib.import_module(f"nas.kernels.{folder}")
    names = set()
    for found in pkgutil.iter_modules(package.__path__):
        if found.name.startswith("triton_"):
            module = importlib.import_module(f"nas.kernels.{folder}.{found.name}")
            names |= {name for name, value in vars(module).items() if isinstance(value, KernelInterface)}
    return frozenset(names)


def group_of(kernel: str, operations: Sequence[str]) -> str:
    """Return the group of a kernel.

    Args:
        kernel: name of the kernel.
        operations: names of the operations that were running when it was launched, the innermost first.
    """
    for folder, group in ATTENTION.items():
        if kernel in kernels_of(folder):
            return group
    if kernel in ("forward", "backward"):
        within = (group for name in operations for part, group in ELEMENTWISE.items() if part in name)
        return next(within, AGAIN)
    if kernel == "add_rows":
        return SUMS
    if GEMM.search(kernel):
        return "matrix products"
    for part, group in BY_OPERATION:
        if any(part in name for name in operations):
            return group
    return OTHER
