"""The gated delta rule's largest kernels for Hopper, for heads of today's models: 128 columns of q and k.

They compute what kernels of `triton_forward`, `triton_scan_back` and `triton_backward` compute, which take every call.
Here groups of warps work on different parts of a tile at once. Triton makes no such groups for Hopper, and Gluon, its
language for one kind of GPU, does. Names in Gluon change from version to version, so that these kernels run on
machines on which the tests were run, and nowhere else (`nas.kernels.machine.unchecked_machine`).
"""

import functools

import torch
from torch import Tensor

from nas.kernels.machine import unchecked_machine
from nas.kernels.triton_support import can_be_copied

KEY_DIM, CHUNK_SIZE, VALUE_DIM = 128, 64, 128
"""Columns of q and k, tokens in a chunk, and the most columns of v that a program takes."""


@functools.cache
def runs_on(device: torch.device) -> bool:
    """Return whether ``device`` is a Hopper GPU on whose like the kernels were tested."""
    return (
        device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9 and unchecked_machine(device) is None
    )


def takes(chunk_size: int, *tensors: Tensor) -> bool:
    """Return whether `launch.scan` and `launch.scan_back` take q, k and v, or the gradient of o for v.

    Shapes and dtype are those of the kernels, and the GPU can copy their tiles.
    """
    q, _, v = tensors
    return (
        runs_on(q.device)
        and chunk_size == CHUNK_SIZE
        and q.shape[-1] == KEY_DIM
        and v.shape[-1] % VALUE_DIM == 0
        and q.dtype in (torch.bfloat16, torch.float16)
        and can_be_copied(*tensors)
    )


def takes_gradients(chunk_size: int, packed: bool, *tensors: Tensor) -> bool:
    """Return whether `launch.differentiate` takes q, k, v and the gradient of o; of packed documents, the full tiles.

    The GPU fills a tile with zeros at the end of a sequence, but not at the end of a document inside of it. As the rest
    of the tiles is left to another kernel, each head of v of packed documents has a head of q and k of its own.
    """
    q, k, v, do = tensors
    return (
        takes(chunk_size, q, k, v)
        and takes(chunk_size, q, k, do)
        and (not packed or q.shape[2] == v.shape[2])
        and all(x.stride(2) == x.shape[-1] for x in tensors)
    )
