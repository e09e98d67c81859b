"""Values that a compiler treats as constants instead of tracing: a graph runs on the machine that it is traced on."""

import torch

from nas.kernels.machine import known_machine_obstacle


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def machine_obstacle(device: torch.device) -> str | None:
    """Return `nas.kernels.triton_support.machine_obstacle` as a constant."""
    return known_machine_obstacle(device)
