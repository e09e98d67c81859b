"""Positions of labels."""

from nas.comparisons.figures.labels import spread


def test_names_are_spread_no_more_than_they_need() -> None:
    assert spread([10.0, 50.0], 5.0, 0.0, 100.0) == [10.0, 50.0]
    assert spread([50.0, 50.0, 50.0], 10.0, 0.0, 100.0) == [40.0, 50.0, 60.0]
    assert spread([99.0, 98.0], 10.0, 0.0, 100.0) == [100.0, 90.0]
    assert spread([0.0, 0.0, 80.0], 10.0, 0.0, 100.0) == [0.0, 10.0, 80.0]
