"""Patterns by letter, and all placements of a pattern."""

import pytest

from nas.search_spaces.placements import placements, spelled


def test_letters_are_mixers() -> None:
    assert spelled("slw") == ["softmax", "linear", "window"]
    assert [spelled(name) for name in ("", "linear", "softmax", "slx", "s-l", "slll..llls")] == [None] * 6


def test_all_placements_are_listed_once() -> None:
    assert placements("slll..llls") == ["slll", "lsll", "llsl", "llls"]
    every = placements("ssllw..wllss")
    assert every is not None
    assert len(every) == len(set(every)) == 30
    assert (every[0], every[-1]) == ("ssllw", "wllss")
    assert all(sorted(one) == sorted("ssllw") for one in every)
    assert placements("slll") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("slll..lsll", "slll..lsll does not begin at the first placement; give slll..llls."),
        ("lsll..llsl", "give llls..slll."),
        ("slll..lls", "are not two patterns of the same layers; give letters of: s .softmax., l .linear., w .window."),
        ("slxl..lxls", "are not two patterns"),
        ("ssssslllll..lllllsssss", "has 252 placements, more than 64; name single patterns, such as lllllsssss."),
    ],
)
def test_names_that_are_no_placements(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        placements(name)
