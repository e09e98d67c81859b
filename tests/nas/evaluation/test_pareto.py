"""The Pareto front."""

from nas.evaluation.pareto import front


def test_the_front_has_every_point_that_none_dominates() -> None:
    assert front([(1, 5), (2, 3), (2, 4), (3, 1), (4, 1), (0, 9)]) == [0, 1, 3, 5]


def test_equal_points_are_on_it_together() -> None:
    assert front([(2, 2), (1, 3), (2, 2), (3, 3)]) == [0, 1, 2]


def test_of_one_loss_it_is_the_smallest_and_of_nothing_nothing() -> None:
    assert front([(3,), (1,), (2,), (1,)]) == [1, 3]
    assert front([]) == []
