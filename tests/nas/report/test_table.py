"""Sortable tables: which columns are numbers, and where intervals are drawn."""

import math

from nas.report.table import Interval, intervals, table_of


def test_a_column_is_of_numbers_where_any_of_its_texts_is_one() -> None:
    rows = [{"model": "1", "share": "0.5", "found": "linear"}, {"model": "b", "share": "-", "found": "x"}]
    table = table_of(rows, ahead=False)
    assert table is not None
    assert table.numeric == [False, True, False]
    assert [row.marked for row in table.rows] == [True, False]
    assert [row.cells[1].value for row in table.rows] == [0.5, None]
    assert table_of([], ahead=True) is None


def test_sizes_sort_by_their_bytes() -> None:
    table = table_of([{"model": "a", "cache": "7.39 MiB"}, {"model": "b", "cache": "256 KiB"}], ahead=False)
    assert table is not None
    assert [row.cells[1].value for row in table.rows] == [7.39 * 2**20, 2**18]


def test_the_first_row_is_bold_only_if_it_is_ahead() -> None:
    for ahead in (True, False):
        table = table_of([{"model": "a", "recall": "0.5"}, {"model": "b", "recall": "0.4"}], ahead)
        assert table is not None
        assert [[cell.ahead for cell in row.cells] for row in table.rows] == [[ahead] * 2, [False] * 2]


def test_intervals_share_a_scale() -> None:
    nan = math.nan
    made = intervals([(0.0, 0.5, 1.0), (2.0, 3.0, 4.0), (nan, 1.0, nan), (nan, nan, nan)])
    assert made == [Interval(0, 25, 12.5), Interval(50, 50, 75), Interval(25, 0, 25), None]
    assert intervals([(nan, nan, nan)]) == [None]
    assert intervals([(1.0, 1.0, 1.0)]) == [Interval(0, 0, 0)]
