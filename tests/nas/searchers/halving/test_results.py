"""Results of candidates at rungs: stored, read again, ranked."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.runs.folder import Run
from nas.searchers.halving.results import RUNGS, Result, Results, best
from nas.supernet.architecture_logits import TOLERANCE


def result(number: int, merit: float, excess: float = 0.0, cost: float = 0.5) -> Result:
    """A result at step 10."""
    return Result(
        number=number,
        code=(0, number),
        options=("linear", "softmax"),
        step=10,
        merits={1: merit, 4: merit - 0.25},
        quality=merit,
        loss=0.25,
        cost=cost,
        excess=excess,
        training_seconds=1.5,
        tokens=1000,
        training_flops=1e9,
        seconds=0.5,
    )


def test_results_are_read_as_they_were_stored(tmp_path: Path) -> None:
    run = Run(tmp_path)
    results = Results(run)
    assert (results.every, results.selected, results.get(0, 10)) == ([], None, None)
    lost = replace(result(1, -math.inf), quality=math.nan)
    later = replace(result(0, 0.75), step=20)
    for one in (result(0, 0.5), lost, later):
        results.add(one)
    results.select(0)
    again = Results(run)
    assert again.selected == 0
    assert again.get(0, 10) == result(0, 0.5)
    assert again.latest[0] == later
    assert again.latest[1].score == -math.inf
    assert [one.number for one in again.every] == [0, 1, 0]


def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / RUNGS).write_text('{"selected": null, "results": [{"number": 1}]}')
    with pytest.raises(UserError, match=r"rungs\.json is damaged; delete it to compare"):
        Results(Run(tmp_path))


def test_the_better_mean_over_lengths_goes_on_and_the_cheaper_of_two_equal_ones() -> None:
    given = [result(0, 0.5), result(1, 0.75), result(2, 0.75, cost=0.25), result(3, -math.inf)]
    assert [one.number for one in best(given, 3, last=False)] == [2, 1, 0]
    assert given[0].score == 0.375


def test_the_budget_counts_at_the_end_only() -> None:
    given = [result(0, 0.5), result(1, 0.75, excess=2 * TOLERANCE), result(2, 0.6, excess=TOLERANCE / 2)]
    assert [one.number for one in best(given, 3, last=False)] == [1, 2, 0]
    assert [one.number for one in best(given, 3, last=True)] == [2, 0, 1]
