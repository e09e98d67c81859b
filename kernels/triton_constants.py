"""Values that a compiler treats as constants instead of tracing: a graph runs on the machine that it is traced on."""

import torch

from nas.kernels import machine, self_test


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def machine_obstacle(device: torch.device) -> str | None:
    """Return `nas.kernels.triton_support.machine_obstacle` as a constant."""
    return machine.known_machine_obstacle(device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def self_test_failure(operation: str, dtype: torch.dtype, device: torch.device, **settings: int) -> str | None:
    """Return `nas.kernels.triton_support.self_test_failure` as a constant; tests the kernels while it is traced."""
    return self_test.known_failure(operation, dtype, device, **settings)
