"""The prompts of decoding: their checks, and the parts of a batch, whose prompts have one length."""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor


def parts_of(tokens: Tensor | Sequence[Tensor], vocab_size: int) -> list[Tensor]:
    """Return prompts as tensors [B, T] of one length each, in order. Waits for the GPU once.

    Args:
        tokens: [B, T] token ids, or a list of prompts [T].
        vocab_size: number of ids in the vocabulary.

    Raises:
        ValueError: tokens has another type or shape, or ids outside the vocabulary.
    """
    parts = _checked_parts(tokens)
    least, most = (int(bound) for bound in torch.cat([part.flatten() for part in parts]).aminmax())
    if least < 0 or most >= vocab_size:
        raise ValueError(
            f"tokens has ids from {least} to {most}; they must lie in the vocabulary, from 0 to {vocab_size - 1}."
        )
    return parts


def _checked_parts(tokens: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if isinstance(tokens, Tensor):
        check_ids("tokens", tokens)
        if tokens.ndim != 2 or 0 in tokens.shape:
            raise ValueError(f"tokens has shape {list(tokens.shape)}; it must be [B, T] with both at least 1.")
        return [tokens]
    if not isinstance(tokens, list | tuple):
        raise ValueError(
            f"tokens is a {type(tokens).__name__}; it must be a tensor of ids [B, T], or a list of prompts."
        )
    if not tokens:
        raise ValueError("tokens is an empty list; it must have at least one prompt [T].")
    for index, prompt in enumerate(tokens):
        check_ids(f"tokens[{index}]", prompt)
        if prompt.ndim != 1 or len(prompt) == 0:
            raise ValueError(f"tokens[{index}] has shape {list(prompt.shape)}; a prompt must be [T] with T at least 1.")
    return [torch.stack(list(same)) for _, same in groupby(tokens, key=len)]


def check_ids(name: str, ids: Tensor) -> None:
    """Raise a ValueError if an argument is not a tensor of integers."""
    if not isinstance(ids, Tensor):
        raise ValueError(f"{name} is a {type(ids).__name__}; it must be a tensor of ids.")
    if ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
        raise ValueError(f"{name} has type {ids.dtype}; it must have an integer type, such as torch.int64.")
