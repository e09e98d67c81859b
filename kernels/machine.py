"""The machine that kernels run on: its GPU, its version of Triton, and whether Triton's interpreter is on."""

import functools
import importlib.metadata
import os
from typing import Any

import torch

CAPABILITY = (9, 0)
"""CUDA compute capability on which the kernels run: Hopper (H100, H200), the only one on which they were checked.

Triton 3.4 to 3.7 compiles such kernels wrongly on Blackwell (flash-linear-attention#607, #638, #913) and, in the
backward pass, on Hopper (#640, #984). These kernels avoid the patterns that fail on Hopper. Older GPUs have too little
shared memory for the tiles.
"""


OLDEST_TRITON = (3, 6)
"""Oldest Triton that the kernels were checked with."""

LARGE_SHARED_MEMORY = 227 * 1024
"""Bytes of shared memory of a program that the tiles for Hopper may need; compute capabilities 9.0 and 10.0 have them.

GPUs with less (8.0 has 163 KiB; 8.6, 8.9 and 12.0 have 99 KiB) use tiles that fit in 99 KiB.
"""


def interpreting() -> bool:
    """Return whether Triton kernels are interpreted, on CPU tensors (set before triton is imported)."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


@functools.cache
def _triton_version() -> str | None:
    for name in ("triton", "pytorch-triton"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


@functools.cache
def known_machine_obstacle(device: torch.device) -> str | None:
    """Return `machine_obstacle` of ``device``; call this outside of traced code."""
    version = _triton_version()
    if version is None:
        return "triton is not installed (there are wheels for Linux: pip install triton)"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_TRITON:
        return f"triton {version} is older than {'.'.join(map(str, OLDEST_TRITON))}, the oldest checked version"
    if interpreting():
        return None
    if device.type != "cuda":
        return f"the tensors are on {device.type}, and Triton's kernels need a CUDA device"
    if torch.version.hip is not None:
        return "this is an AMD GPU, for which the kernels were not checked"
    capability = torch.cuda.get_device_capability(device)
    if capability != CAPABILITY:
        return (
            f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]}, and the "
            f"kernels were checked for {CAPABILITY[0]}.{CAPABILITY[1]} alone (H100, H200); on newer GPUs Triton is "
            "known to give wrong gradients for such kernels"
        )
    return None


@functools.cache
def has_large_shared_memory(device: torch.device) -> bool:
    """Return whether a program on ``device`` may use `LARGE_SHARED_MEMORY`; True without a GPU, for the interpreter."""
    if device.type != "cuda":
        return True
    properties: Any = torch.cuda.get_device_properties(device)  # whose type lacks this attribute
    return bool(properties.shared_memory_per_block_optin >= LARGE_SHARED_MEMORY)
