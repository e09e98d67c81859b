"""What a compiler takes as a constant instead of tracing it: a graph is traced on the one machine that it runs on."""

import torch

from nas.kernels.machine import known_machine_obstacle


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def machine_obstacle(device: torch.device) -> str | None:
    """`nas.kernels.triton_support.machine_obstacle` as a constant."""
    return known_machine_obstacle(device)
