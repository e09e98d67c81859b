"""Batches are halved until they fit."""

import pytest
import torch

from nas.errors import UserError
from nas.suites.memory import CPU_TOKENS, batch_size, in_parts
from tests.nas.architectures import small


def test_parts_are_halved_where_memory_is_short_and_the_rest_goes_on() -> None:
    tried: list[int] = []
    done: list[int] = []

    def compute(start: int, end: int) -> None:
        tried.append(end - start)
        if end - start > 3:
            raise torch.OutOfMemoryError("too much\nin detail")
        done.extend(range(start, end))

    in_parts(10, 8, compute)
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    assert done == list(range(10))


def test_a_single_sequence_that_does_not_fit_is_an_error() -> None:
    def full(start: int, end: int) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(UserError, match=r"one sequence does not fit in memory: .*can't allocate"):
        in_parts(3, 2, full)

    def broken(start: int, end: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        in_parts(3, 2, broken)


def test_longer_sequences_are_fewer_at_a_time() -> None:
    device = torch.device("cpu")
    sizes = [
        batch_size(small(), length, device, cached=cached) for length in (64, 2**11, 2**20) for cached in (False, True)
    ]
    assert sizes[:2] == [CPU_TOKENS // 64] * 2
    assert sizes[2:4] == [8, 8]
    assert sizes[4:] == [1, 1]
