"""What follows from the machine a run is on: the precision it trains in, and what its GPU can compute at most."""

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
"""Dense bfloat16 and float16 FLOPs a second of a whole GPU, by a part of its name; the first that fits counts.

From NVIDIA's data sheets, where the figures with sparsity are twice these.
"""


def precision_here(trainer: TrainerConfig) -> str:
    """The precision to train in: "auto" is bf16-mixed on a CUDA GPU that has bfloat16, 32-true elsewhere."""
    if trainer.precision != AUTO:
        return trainer.precision
    on_gpu = trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision as `trainer.precision` names it, on tensors of ``device``; nothing where it is not mixed."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision.endswith("-mixed"))


def peak_flops(device: torch.device, precision: str) -> float | None:
    """FLOPs a second that the device could compute at most in this precision; None where it is not known."""
    if device.type != "cuda" or not precision.startswith(("bf16", "16")):
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(name: str) -> float | None:
    """`PEAK_FLOPS` of a GPU's name; None for one that is not listed, or a part of one."""
    if "MIG" in name:
        return None
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
