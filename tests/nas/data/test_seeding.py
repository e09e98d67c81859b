"""A random stream is a function of its key alone."""

import numpy as np
import pytest
import torch

from nas.data.seeding import generator


def draw(*key: int | str) -> list[int]:
    return torch.randint(2**31, (4,), generator=generator(*key)).tolist()


def test_the_same_key_gives_the_same_stream_whatever_came_before() -> None:
    first = draw(3, "train", 8)
    torch.manual_seed(1)
    draw(4)
    assert draw(3, "train", 8) == first


def test_the_global_stream_is_left_alone() -> None:
    before = torch.get_rng_state()
    draw(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_different_keys_give_different_streams() -> None:
    keys: list[tuple[int | str, ...]] = [
        (),
        (0,),
        (1,),
        ("1",),
        (1, 2),
        (12,),
        (2, 1),
        (1, "2"),
        ("1, 2",),
        (-1,),
        (2**70,),
        (1, "train", 2),
    ]
    assert len({tuple(draw(*key)) for key in keys}) == len(keys)


@pytest.mark.parametrize("one", [np.int64(1), torch.tensor(1), True])
def test_any_integer_type_counts_as_its_value(one: int) -> None:
    assert draw(one, "train") == draw(1, "train")


def test_the_stream_of_a_key_is_fixed() -> None:
    assert draw(5, "x") == [1674853843, 1815483908, 455289272, 1255896439]
