"""What the Triton kernels can take, where they run, and which implementation a call gets.

Nothing here imports triton: kernels are imported when the first tensor asks for them.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from nas.kernels.arguments import Impl
from nas.kernels.machine import known_machine_obstacle

CHUNK_SIZES = (16, 32, 64, 128, 256)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MAX_KEY_DIM = 256
MAX_VALUE_DIM = 512
DIM_MULTIPLE = 4


NARROWEST_BYTES = 128
"""Fewest bytes in a row of a tile that is multiplied: Triton 3.6 to 3.7.1 lets Hopper's wgmma read narrower operands
past their end, in silence or with an illegal access (triton#11366; seen with 32 columns of 16 bits and 16 of 32)."""


def machine_obstacle(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on tensors of ``device``; None if they can."""
    if torch.compiler.is_compiling():
        # The mark in there imports torch._dynamo: a second that only a compiler, which has it already, should take.
        from nas.kernels.triton_constants import machine_obstacle as constant

        return constant(device)
    return known_machine_obstacle(device)


def obstacle(q: Tensor, k: Tensor, v: Tensor, chunk_size: int) -> str | None:
    """Why the Triton kernels cannot take a call with q, k [..., K] and v [..., V]; None if they can."""
    if reason := machine_obstacle(q.device):
        return reason
    if chunk_size not in CHUNK_SIZES:
        return f"chunk_size={chunk_size}, and Triton's kernels take {', '.join(map(str, CHUNK_SIZES))}"
    for name, tensor, most in (("q", q, MAX_KEY_DIM), ("k", k, MAX_KEY_DIM), ("v", v, MAX_VALUE_DIM)):
        if tensor.dtype not in DTYPES:
            return f"{name} has dtype {tensor.dtype}, and Triton's kernels take float16, bfloat16 and float32"
        dim = tensor.shape[-1]
        if dim > most or dim % DIM_MULTIPLE:
            return f"{name} has head dim {dim}, and Triton's kernels take multiples of {DIM_MULTIPLE} up to {most}"
    return None


def choose(impl: Impl, q: Tensor, k: Tensor, v: Tensor, chunk_size: int) -> Literal["reference", "triton"]:
    """The implementation of a call: for "auto" Triton's where a CUDA tensor allows it, the reference otherwise.

    Raises:
        ValueError: impl is "triton" and the kernels cannot take this call; the message says what they can.
    """
    return _decide(impl, q.device, lambda: obstacle(q, k, v, chunk_size))


def choose_elementwise(impl: Impl, *tensors: Tensor, limit: str | None = None) -> Literal["reference", "triton"]:
    """The implementation of an element-wise operation on these tensors, as `choose` gives it for the other two.

    Args:
        limit: what else of the call is beyond the kernels, if anything.
    """

    def reason() -> str | None:
        for x in tensors:
            if x.dtype not in DTYPES:
                return f"a tensor has dtype {x.dtype}, and Triton's kernels take float16, bfloat16 and float32"
        return limit or machine_obstacle(tensors[0].device)

    return _decide(impl, tensors[0].device, reason)


def _decide(impl: Impl, device: torch.device, why_not: Callable[[], str | None]) -> Literal["reference", "triton"]:
    if impl == "reference" or (impl == "auto" and device.type != "cuda"):
        return "reference"
    reason = why_not()
    if reason is None:
        return "triton"
    if impl == "triton":
        raise ValueError(
            f"impl='triton' cannot be used: {reason}. Use impl='reference', or impl='auto' to choose by itself."
        )
    return "reference"


def operand_dtype(*tensors: Tensor) -> torch.dtype:
    """The one dtype in which matrix products read these tensors: autocast's where it is on, else the widest given."""
    device = tensors[0].device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return functools.reduce(torch.promote_types, (x.dtype for x in tensors))


def dense(x: Tensor) -> Tensor:
    """x itself if its last dimension lies contiguously in memory, else a copy of which that is so."""
    return x if x.stride(-1) == 1 else x.contiguous()


def narrowest(dtype: torch.dtype) -> int:
    """Fewest columns of a tile of ``dtype`` that is multiplied."""
    return NARROWEST_BYTES // dtype.itemsize


def dot_precision(dtype: torch.dtype) -> str:
    """How `tl.dot` multiplies operands of ``dtype``: float32 in three TF32 products, which keeps float32's accuracy."""
    return "tf32x3" if dtype == torch.float32 else "tf32"


@functools.cache
def multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 for the interpreter."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


@contextmanager
def on_device(tensor: Tensor) -> Iterator[None]:
    """Launch kernels on the tensor's GPU, whichever is current."""
    if tensor.device.type == "cuda":
        with torch.cuda.device(tensor.device):
            yield
    else:
        yield
