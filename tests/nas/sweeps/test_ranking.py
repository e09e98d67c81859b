"""The ranking of trials."""

from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.sweeps.objectives import Objective
from nas.sweeps.queue import Slot
from nas.sweeps.ranking import best, best_so_far, ranked

QUALITY = Objective("quality", "maximize", lambda metrics: None)
SHARE = Objective("share", "minimize", lambda metrics: None)


def slots(*values: tuple[float, ...] | None) -> list[Slot]:
    """Return complete trials with these values, and failed trials for None."""
    return [Slot(number, (_trial(one),)) for number, one in enumerate(values)]


def _trial(values: tuple[float, ...] | None) -> FrozenTrial:
    if values is None:
        return create_trial(state=TrialState.FAIL)
    return create_trial(state=TrialState.COMPLETE, values=list(values))


def numbers(found: list[Slot]) -> list[int]:
    return [slot.number for slot in found]


def test_one_objective_has_one_best_trial_the_first_of_equals() -> None:
    some = slots((0.5,), None, (0.9,), (0.9,), (0.1,))
    assert numbers(best(some, [QUALITY])) == [2]
    assert numbers(best(some, [SHARE])) == [4]
    assert numbers(ranked(some, [QUALITY])) == [2, 3, 0, 4]


def test_the_pareto_front_has_those_that_none_beats() -> None:
    some = slots((0.9, 0.5), (0.8, 0.1), (0.8, 0.2), None, (0.95, 0.5), (0.1, 0.05), (0.1, 0.1), (0.8, 0.1))
    assert numbers(best(some, [QUALITY, SHARE])) == [4, 1, 5]


def test_three_objectives() -> None:
    some = slots((0.9, 0.5, 3), (0.9, 0.5, 2), (0.8, 0.6, 1), (0.8, 0.6, 1.5))
    assert numbers(best(some, [QUALITY, SHARE, SHARE])) == [1, 2]


def test_what_is_told_of_the_best() -> None:
    assert best_so_far(slots(None), [QUALITY], "recall") == ""
    assert best_so_far(slots((0.5,), (0.9,)), [QUALITY], "bits_per_byte") == "best bits per byte 0.900 (trial 2)"
    assert best_so_far(slots((0.5, 1), (0.9, 1)), [QUALITY, SHARE], "recall") == "Pareto front: trial 2"
    assert best_so_far(slots((0.5, 0), (0.9, 1)), [QUALITY, SHARE], "recall") == "Pareto front: trials 2, 1"
