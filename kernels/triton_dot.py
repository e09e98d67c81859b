"""The matrix product of the Triton kernels, with equal results in the interpreter."""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

import triton
import triton.language as tl

from nas.kernels.machine import interpreting

EMULATED = tl.constexpr(interpreting())
"""Whether kernels run in Triton's interpreter, whose bfloat16 product multiplies the bits as integers."""


@triton.jit
def dot(a, b, acc, PRECISION: tl.constexpr):
    """Compute a b + acc in float32; acc may be None."""
    if EMULATED:  # the products in a tensor core are exact too
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision=PRECISION)
