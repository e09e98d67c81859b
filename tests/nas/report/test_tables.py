"""Tables as Markdown."""

import math

from nas.report.units import markdown, number


def test_a_table_is_padded_so_that_its_source_reads_as_one() -> None:
    assert markdown([{"a": "1", "long": "x"}, {"a": "22", "long": "y"}]) == (
        "| a  | long |\n| -- | ---- |\n| 1  | x    |\n| 22 | y    |\n"
    )


def test_what_is_not_known_is_a_dash() -> None:
    assert [number(value) for value in (0.12345, None, math.nan)] == ["0.123", "-", "-"]
