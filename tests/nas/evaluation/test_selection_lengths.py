"""The lengths at which models are compared on selection batches."""

from types import SimpleNamespace
from typing import Any

import pytest

from nas.data.recall import Recall
from nas.errors import UserError
from nas.evaluation.selection_lengths import selection_lengths

ANY: Any = Recall


@pytest.mark.parametrize(
    ("measured", "given", "chosen"),
    [([1, 4, 16, 64], None, [1, 16]), ([1, 32], None, [1]), ([1, 4], [4, 2, 4], [2, 4])],
)
def test_models_are_compared_at_the_training_length_and_the_longest_cheap_one(
    measured: list[int], given: list[int] | None, chosen: list[int]
) -> None:
    assert selection_lengths("tuning_factors", given, measured, ANY) == chosen


def test_a_task_without_longer_selection_batches_is_compared_at_its_length() -> None:
    theirs: Any = SimpleNamespace(selection_batches=lambda count: [], name="recall")
    assert selection_lengths("tuning_factors", None, [1, 4], theirs) == [1]
    with pytest.raises(UserError, match=r"tuning_factors=\[1, 4\] is not allowed for data=recall, whose selection"):
        selection_lengths("tuning_factors", [1, 4], [1, 4], theirs)
    with pytest.raises(UserError, match=r"searcher.length_factors=\[\] is not allowed; give one or more"):
        selection_lengths("searcher.length_factors", [], [1, 4], theirs)
