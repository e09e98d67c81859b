"""The machine that kernels run on: its GPU, its version of Triton, and whether Triton's interpreter is on."""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
from pathlib import Path
from typing import NamedTuple

import torch

OLDEST_CAPABILITY = (8, 0)
"""Oldest CUDA compute capability on which the kernels can run: Ampere. Older GPUs do not compute in bfloat16."""

CHECKED_CAPABILITY = (9, 0)
"""Compute capability of the GPUs on which the tests were run: Hopper (H100, H200)."""

CHECKED_TRITONS = ("3.6",)
"""Versions of Triton with which the tests were run on those GPUs.

A wrong result of a kernel is often silent: Triton 3.4 to 3.7 compiles similar kernels wrongly on Blackwell
(flash-linear-attention#607, #638, #913) and, in the backward pass, on Hopper (#640, #984). These kernels avoid the
patterns that fail on Hopper. On other GPUs, and with other versions, `nas.kernels.self_test` compares each kernel with
the reference before its first use.
"""

OLDEST_TRITON = (3, 6)
"""Oldest Triton that the kernels were checked with."""

LARGE_SHARED_MEMORY = (9, 10)
"""Major compute capabilities with 227 KiB of shared memory for a program: the tiles for Hopper fit there.

Others (8.0 has 163 KiB; 8.6, 8.9 and 12.0 have 99 KiB) use tiles that fit in 99 KiB.
"""

GIB = 2**30


class Machine(NamedTuple):
    """The combination that decides whether a kernel is right."""

    gpu: str
    capability: tuple[int, int]
    driver: str
    triton: str
    kernels: str
    """Hash of the kernels' source."""

    def __str__(self) -> str:
        capability = ".".join(map(str, self.capability))
        return (
            f"{self.gpu}, compute capability {capability}, driver {self.driver}, Triton {self.triton}, "
            f"kernels {self.kernels}"
        )


def free_memory(device: torch.device) -> str:
    """Return the part of a message that says how much memory of a device is free; waits for nothing."""
    if device.type != "cuda":
        return "so much is not free"
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return f"{(torch.cuda.mem_get_info(device)[0] + unused) / GIB:.2f} GiB of the GPU are free"


def interpreting() -> bool:
    """Return whether Triton kernels are interpreted, on CPU tensors (set before triton is imported)."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")


@functools.cache
def triton_version() -> str | None:
    """Return the version of Triton; None if it is not installed."""
    for name in ("triton", "pytorch-triton"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _release(version: str) -> tuple[int, ...]:
    """Return major and minor of a version."""
    return tuple(int(part) for part in version.split(".")[:2])


@functools.cache
def known_machine_obstacle(device: torch.device) -> str | None:
    """Return `machine_obstacle` of ``device``; call this outside of traced code."""
    version = triton_version()
    if version is None:
        return "triton is not installed (there are wheels for Linux: pip install triton)"
    if _release(version) < OLDEST_TRITON:
        return f"triton {version} is older than {'.'.join(map(str, OLDEST_TRITON))}, the oldest checked version"
    if interpreting():
        return None
    if device.type != "cuda":
        return f"the tensors are on {device.type}, and Triton's kernels need a CUDA device"
    if torch.version.hip is not None:
        return "this is an AMD GPU, for which the kernels were not checked"
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_CAPABILITY:
        return (
            f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]}, and the "
            f"kernels need {OLDEST_CAPABILITY[0]}.{OLDEST_CAPABILITY[1]} or newer"
        )
    return None


@functools.cache
def unchecked_machine(device: torch.device) -> Machine | None:
    """Return the machine of ``device``, a CUDA device without an obstacle; None if the tests were run on its like."""
    version = triton_version()
    if version is None or device.type != "cuda":
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability == CHECKED_CAPABILITY and _release(version) in map(_release, CHECKED_TRITONS):
        return None
    return Machine(torch.cuda.get_device_name(device), capability, _driver_version(), version, hash_of_kernels())


def _driver_version() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="utf-8").strip()
    except OSError:  # as in the Linux of Windows; the driver's version of CUDA changes less often than its own
        version = ctypes.c_int()
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
        return f"for CUDA {version.value}"


@functools.cache
def hash_of_kernels() -> str:
    """Return a hash of the source of all kernels."""
    folder = Path(__file__).parent
    sources = sorted(folder.rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]


@functools.cache
def has_tile_copies(device: torch.device) -> bool:
    """Return whether the GPU copies whole tiles of a matrix to shared memory on its own (TMA: Hopper and later)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


@functools.cache
def has_large_shared_memory(device: torch.device) -> bool:
    """Return whether the tiles for Hopper fit on ``device``; True without a GPU, for the interpreter."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device)[0] in LARGE_SHARED_MEMORY
