"""Decoding of a branch token by token, for tests."""

import torch
from torch import Tensor

from nas.models.operations.operation import Heads, Memory

T, CHUNK = 10, 4
"""Tokens, and tokens in a chunk; the last chunk is short."""


def decoded(memory: Memory, heads: Heads, prompt: int, route: Tensor | None) -> Tensor:
    """Outputs of a prompt, and then of one token at a time."""
    chunks = -(-prompt // CHUNK)
    out = [memory.prefill(tuple(x[:, :prompt] for x in heads), None if route is None else route[:, :chunks])]
    for token in range(prompt, T):
        out.append(memory.step(tuple(x[:, token : token + 1] for x in heads)))
        if (token + 1) % CHUNK == 0:
            memory.close(None if route is None else route[:, token // CHUNK])
    return torch.cat(out, dim=1)


def heads(count: int) -> tuple[Tensor, ...]:
    """Random tensors [B, T, H, K] in float64."""
    return torch.randn(count, 2, T, 2, 4, dtype=torch.float64).unbind()


def sizes_in_use(memory: Memory, given: Heads) -> list[int]:
    """Bytes in use after prompts of one chunk and of two."""
    found = []
    for prompt in (CHUNK, 2 * CHUNK):
        memory.prefill(tuple(x[:, :prompt] for x in given), None)
        found.append(memory.bytes_in_use)
    return found
