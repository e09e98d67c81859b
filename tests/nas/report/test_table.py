"""Sortable tables: which columns are numbers, and where intervals are drawn."""

import math

from nas.report.table import Interval, intervals, table_of


def test_a_column_is_of_numbers_where_any_of_its_texts_is_one() -> None:
    table = table_of([{"model": "1", "share": "0.5", "found": "linear"}, {"model": "b", "share": "-", "found": "x"}])
    assert table is not None
    assert table.numeric == [False, True, False]
    assert [row.marked for row in table.rows] == [True, False]
    assert [row.cells[1].value for row in table.rows] == [0.5, None]
    assert table_of([]) is None


def test_intervals_share_a_scale() -> None:
    nan = math.nan
    made = intervals([(0.0, 0.5, 1.0), (2.0, 3.0, 4.0), (nan, 1.0, nan), (nan, nan, nan)])
    assert made == [Interval(0, 25, 12.5), Interval(50, 50, 75), Interval(25, 0, 25), None]
    assert intervals([(nan, nan, nan)]) == [None]
    assert intervals([(1.0, 1.0, 1.0)]) == [Interval(0, 0, 0)]
