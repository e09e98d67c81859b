"""Prompts: a batch of one length, or a list whose neighbours of equal length form a part."""

from typing import Any

import pytest
import torch

from nas.models.prompts import parts_of

TOKENS = torch.arange(10).view(2, 5)


def test_neighbours_of_equal_length_form_a_part() -> None:
    prompts = [TOKENS[0], TOKENS[1], TOKENS[0, :2], TOKENS[1]]
    shapes = [tuple(part.shape) for part in parts_of(prompts, 10)]
    assert shapes == [(2, 5), (1, 2), (1, 5)]
    assert torch.equal(torch.cat([part.flatten() for part in parts_of(prompts, 10)]), torch.cat(prompts))
    (whole,) = parts_of(TOKENS, 10)
    assert whole is TOKENS


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (TOKENS[0], r"tokens has shape \[5\]; it must be \[B, T\]"),
        (TOKENS[:, :0], r"tokens has shape \[2, 0\]; it must be \[B, T\]"),
        (TOKENS.float(), "tokens has type torch.float32; it must have an integer type"),
        (None, "tokens is a NoneType; it must be a tensor of ids .* or a list of prompts"),
        ([], "tokens is an empty list; it must have at least one prompt"),
        ([TOKENS[0], [3]], r"tokens\[1\] is a list; it must be a tensor of ids"),
        ([TOKENS[0], TOKENS[0, :0]], r"tokens\[1\] has shape \[0\]; a prompt must be \[T\] with T at least 1"),
        ([TOKENS[0], TOKENS], r"tokens\[1\] has shape \[2, 5\]; a prompt must be \[T\]"),
        ([TOKENS[0], TOKENS[0] > 0], r"tokens\[1\] has type torch.bool; it must have an integer type"),
        (TOKENS + 1, "tokens has ids from 1 to 10; they must lie in the vocabulary, from 0 to 9"),
        ([TOKENS[0], TOKENS[1] - 6], "tokens has ids from -1 to 4; they must lie in the vocabulary"),
    ],
)
def test_what_is_no_prompt(tokens: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        parts_of(tokens, 10)
