"""Documents that are packed into one sequence, by the positions at which they begin and end."""

from itertools import pairwise

import torch
from torch import Tensor

from nas.kernels.arguments import num_chunks


def read_borders(cu_seqlens: Tensor, name: str, x: Tensor) -> list[int]:
    """Return the values of ``cu_seqlens`` [documents + 1]: document d has the tokens from value d to value d + 1.

    Values on a GPU are copied to the host, which waits for the GPU; values on the CPU need no wait.

    Args:
        cu_seqlens: int32 or int64, on the CPU or on the device of x; starts at 0, ends at T, does not fall.
        name: the name of x in messages.
        x: [1, T, ...], the packed documents.

    Raises:
        ValueError: cu_seqlens or the batch is not as above; the message says how.
    """
    if not isinstance(cu_seqlens, Tensor):
        raise ValueError(f"cu_seqlens is of type {type(cu_seqlens).__name__}; it must be a tensor.")
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"cu_seqlens has dtype {cu_seqlens.dtype}; it must be int32 or int64.")
    if cu_seqlens.ndim != 1 or cu_seqlens.shape[0] < 2:
        raise ValueError(
            f"cu_seqlens has shape {list(cu_seqlens.shape)}; it must be [documents + 1] with at least one document."
        )
    if cu_seqlens.device.type != "cpu" and cu_seqlens.device != x.device:
        raise ValueError(
            f"cu_seqlens is on {cu_seqlens.device}; it must be on the CPU or on the device of {name}, {x.device}."
        )
    batch, length = x.shape[:2]
    if batch != 1:
        raise ValueError(
            f"cu_seqlens is given, and {name} has shape {list(x.shape)}; it must be a batch of one, [1, T, ...]."
        )
    borders: list[int] = cu_seqlens.tolist()
    if borders[0] != 0:
        raise ValueError(f"cu_seqlens starts at {borders[0]}; it must start at 0.")
    for i, (start, end) in enumerate(pairwise(borders)):
        if end < start:
            raise ValueError(
                f"cu_seqlens falls from {start} to {end} at index {i + 1}; it must not fall (equal values are an empty "
                "document)."
            )
    if borders[-1] != length:
        raise ValueError(f"cu_seqlens ends at {borders[-1]}; it must end at T = {length}, the tokens of {name}.")
    return borders


def chunks_of_documents(borders: list[int], chunk_size: int) -> int:
    """Return the number of chunks of all documents; chunks are counted from each document's start."""
    return sum(num_chunks(end - start, chunk_size) for start, end in pairwise(borders))
