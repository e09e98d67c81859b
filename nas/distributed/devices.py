"""Properties of the machine: its memory, the precision for training, and the peak FLOPs of the GPU."""

import os
import platform
from contextlib import suppress
from pathlib import Path

import torch

from nas.config import TrainerConfig

AUTO = "auto"

PEAK_FLOPS = {
    "H200 NVL": 835.5e12,
    "H200": 989.4e12,
    "H100 NVL": 835.5e12,
    "H100 PCIe": 756.0e12,
    "H100": 989.4e12,
    "A100": 312.0e12,
}
"""Dense bfloat16 and float16 FLOPs per second of a whole GPU, by a part of its name; the first match counts.

Source: NVIDIA's data sheets, whose figures with sparsity are twice these.
"""


def machine_memory() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def precision_here(trainer: TrainerConfig) -> str:
    """Return the precision for training: "auto" is bf16-mixed on a CUDA GPU with bfloat16, 32-true elsewhere."""
    if trainer.precision != AUTO:
        return trainer.precision
    on_gpu = trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def device_name(device: torch.device) -> str:
    """Return the name of a device: that of the GPU, or the model of the CPU and its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context of `trainer.precision` for ``device``; disabled if the precision is not mixed."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision.endswith("-mixed"))


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the peak FLOPs per second of a device in a precision; None if it is not known."""
    if device.type != "cuda" or not precision.startswith(("bf16", "16")):
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """Return the entry of `PEAK_FLOPS` for a GPU's name; None for an unlisted GPU or a MIG slice."""
    if "MIG" in name:
        return None
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
