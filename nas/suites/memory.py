"""Batches by memory: the largest batch that should fit, halved whenever the memory does not suffice after all."""

from collections.abc import Callable

import torch

from nas.budget.cost import kv_bytes
from nas.distributed.devices import machine_memory
from nas.errors import UserError
from nas.search_spaces.architecture import Architecture

SHARE = 0.5
"""Share of the free memory that a batch may take by the estimate."""
CPU_SHARE = 0.125
"""The same for the memory of the machine, which other processes use as well."""
CPU_TOKENS = 2**14
"""Most tokens of a batch on a CPU, which larger batches do not make faster."""
LOGITS = 2**26
"""Logits that are computed at a time."""
FLOAT = 4
"""Bytes of an activation."""


def activation_bytes(architecture: Architecture) -> int:
    """Return the bytes of a token that a forward pass without gradients holds at once, generously."""
    a = architecture
    linear = a.linear_heads * (2 * a.key_dim + a.value_dim)
    hidden = max(layer.mlp_width or a.mlp_width for layer in a.layers)
    return FLOAT * (8 * a.width + 8 * linear + 3 * hidden)


def batch_size(architecture: Architecture, length: int, device: torch.device, cached: bool) -> int:
    """Return the number of sequences that should fit in memory together.

    Args:
        architecture: architecture of the model.
        length: tokens of a sequence.
        device: device of the model.
        cached: whether sequences are decoded, whose caches are held together; prompts are then processed one by one.
    """
    one = activation_bytes(architecture) * length
    if device.type != "cuda":
        free = CPU_SHARE * machine_memory()
        most = CPU_TOKENS // length
    else:
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = SHARE * (torch.cuda.mem_get_info(device)[0] + unused)
        most = 2**16
    if cached:
        free -= one
        one = 2 * kv_bytes(architecture, dict.fromkeys(architecture.routed_layers, 1.0), length)
    return max(1, min(most, int(free // one)))


def in_parts(total: int, size: int, compute: Callable[[int, int], None]) -> None:
    """Call ``compute(start, end)`` for consecutive parts; parts are halved while the memory does not suffice.

    Args:
        total: number of sequences.
        size: sequences of a part at first.
        compute: function of a part.

    Raises:
        UserError: a single sequence does not fit.
    """
    start = 0
    while start < total:
        end = min(total, start + size)
        if (reason := _failed(compute, start, end)) is None:
            start = end
            continue
        if end - start == 1:
            raise UserError(f"one sequence does not fit in memory: {reason}")
        size = max(1, (end - start) // 2)  # here no traceback holds the tensors of the attempt
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _failed(compute: Callable[[int, int], None], start: int, end: int) -> str | None:
    """Return why a part does not fit in memory; None if it was computed."""
    try:
        compute(start, end)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
            raise
        return str(error).splitlines()[0]
    return None
