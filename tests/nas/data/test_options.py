"""What tasks check of their options alike."""

import pytest

from nas.data.options import check_counts, halvings
from nas.errors import UserError


def test_counts_are_one_or_more() -> None:
    check_counts(pairs=1, queries=7)
    with pytest.raises(UserError, match=r"data\.queries=0 is too small; give 1 or more\."):
        check_counts(pairs=1, queries=0)


@pytest.mark.parametrize(
    ("full", "least", "levels"), [(64, 16, [64, 32, 16]), (64, 17, [64, 32]), (7, 1, [7, 3, 1]), (5, 5, [5])]
)
def test_halvings_go_down_to_the_least(full: int, least: int, levels: list[int]) -> None:
    assert halvings("length", full, least) == levels


def test_a_least_value_over_the_full_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.min_pairs=9 is more than data\.pairs=8; give at most 8\."):
        halvings("pairs", 8, 9)
