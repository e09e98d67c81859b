"""Calls that the Triton kernels support, the machines they run on, and the implementation that a call uses.

This module never imports triton: kernels are imported when the first tensor needs them.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from nas.kernels.arguments import Impl
from nas.kernels.machine import known_machine_obstacle, unchecked_machine

CHUNK_SIZES = (16, 32, 64, 128, 256)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
MAX_KEY_DIM = 256
MAX_VALUE_DIM = 512
DIM_MULTIPLE = 4


NARROWEST_BYTES = 128
"""Fewest bytes in a row of a tile that is an operand of a product. Triton 3.6 to 3.7.1 lets Hopper's wgmma read
narrower operands past their end, silently or with an illegal access (triton#11366; seen with 32 columns of 16 bits and
16 of 32)."""


def machine_obstacle(device: torch.device) -> str | None:
    """Return why Triton kernels cannot run on tensors of ``device``; None if they can."""
    if torch.compiler.is_compiling():
        # `assume_constant_result` imports torch._dynamo, which takes a second: a compiler has imported it already.
        from nas.kernels.triton_constants import machine_obstacle as constant

        return constant(device)
    return known_machine_obstacle(device)


def obstacle(q: Tensor, k: Tensor, v: Tensor, chunk_size: int) -> str | None:
    """Return why the Triton kernels cannot take a call with q, k [..., K] and v [..., V]; None if they can."""
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


def choose(
    impl: Impl, q: Tensor, k: Tensor, v: Tensor, chunk_size: int, operation: str, **settings: int
) -> Literal["reference", "triton"]:
    """Return the implementation of a call: for "auto" Triton for supported calls on CUDA, the reference otherwise.

    Args:
        impl, q, k, v, chunk_size: as in the operation.
        operation: name of the operation's trials, see `self_test_failure`.
        settings: arguments of the trials beside K, V and chunk_size.

    Raises:
        ValueError: impl is "triton" and the kernels do not support the call; the message says which calls they support.
    """

    def reason() -> str | None:
        return obstacle(q, k, v, chunk_size) or self_test_failure(
            operation, q, k, v, K=q.shape[-1], V=v.shape[-1], chunk_size=chunk_size, **settings
        )

    return _decide(impl, q.device, reason)


def choose_elementwise(
    impl: Impl, x: Tensor, *others: Tensor, operation: str, limit: str | None = None, **settings: int
) -> Literal["reference", "triton"]:
    """Return the implementation of an element-wise operation on x and other tensors, by the rules of `choose`.

    Args:
        impl: as in the operation.
        x: the tensor whose dtype the kernels compute in.
        others: further tensors of the call.
        operation, settings: name and arguments of the operation's trials, see `self_test_failure`.
        limit: why the kernels cannot take the call for another reason than its dtypes or device; None if they can.
    """

    def reason() -> str | None:
        for tensor in (x, *others):
            if tensor.dtype not in DTYPES:
                return f"a tensor has dtype {tensor.dtype}, and Triton's kernels take float16, bfloat16 and float32"
        return limit or machine_obstacle(x.device) or self_test_failure(operation, x, **settings)

    return _decide(impl, x.device, reason)


def self_test_failure(operation: str, *tensors: Tensor, **settings: int) -> str | None:
    """Return why the kernels must not run although nothing keeps them from it: they failed `nas.kernels.self_test`.

    Args:
        operation: the folder of the operation and the function of its trials, "<folder>.<function>".
        tensors: those whose dtype the kernels compute in.
        settings: arguments of that function beside the device; integers, since a compiler must know them.
    """
    device = tensors[0].device
    if torch.compiler.is_compiling():
        from nas.kernels.triton_constants import self_test_failure as constant

        return constant(operation, operand_dtype(*tensors), device, **settings)
    if unchecked_machine(device) is None:
        return None
    from nas.kernels import self_test

    return self_test.known_failure(operation, operand_dtype(*tensors), device, **settings)


def _decide(impl: Impl, device: torch.device, why_not: Callable[[], str | None]) -> Literal["reference", "triton"]:
    if impl == "reference" or (impl == "auto" and device.type != "cuda"):
        return "reference"
    reason = why_not()
    if reason is None:
        return "triton"
    if impl == "triton":
        raise ValueError(
            f"impl='triton' cannot be used: {reason}. Use impl='reference', or impl='auto' to choose automatically."
        )
    return "reference"


def operand_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the dtype of matrix products of these tensors: autocast's where it is on, else the widest of theirs."""
    device = tensors[0].device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return functools.reduce(torch.promote_types, (x.dtype for x in tensors))


def dense(x: Tensor) -> Tensor:
    """Return x if its last dimension is contiguous in memory, else a contiguous copy."""
    return x if x.stride(-1) == 1 else x.contiguous()


def strides(*tensors: Tensor) -> list[int]:
    """Return the strides of batch, token and head of each [B, T, H, D]."""
    return [x.stride(axis) for x in tensors for axis in (0, 1, 2)]


def can_be_copied(*tensors: Tensor) -> bool:
    """Return whether the GPU can copy tiles of these tensors on its own: their addresses are multiples of 16 bytes."""
    return all(
        x.data_ptr() % 16 == 0 and all(stride * x.itemsize % 16 == 0 for stride in x.stride()[:-1]) for x in tensors
    )


def narrowest(dtype: torch.dtype) -> int:
    """Return the fewest columns of a tile of ``dtype`` that is an operand of a product."""
    return NARROWEST_BYTES // dtype.itemsize


def dot_precision(dtype: torch.dtype) -> str:
    """Return the precision of `tl.dot` for ``dtype``: float32 uses three TF32 products, to keep its accuracy."""
    return "tf32x3" if dtype == torch.float32 else "tf32"


@functools.cache
def multiprocessors(device: torch.device) -> int:
    """Return the number of multiprocessors of a GPU; 1 for the interpreter."""
    if device.type != "cuda":
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def allow_scratch_memory(device: torch.device) -> None:
    """Let triton take the memory of PyTorch for the descriptors that a kernel makes; the choice is one of a thread."""
    import triton

    triton.set_allocator(lambda size, alignment, stream: torch.empty(size, dtype=torch.int8, device=device))


@contextmanager
def on_device(tensor: Tensor) -> Iterator[None]:
    """Launch kernels on the tensor's GPU, whichever GPU is current."""
    if tensor.device.type == "cuda":
        with torch.cuda.device(tensor.device):
            yield
    else:
        yield
