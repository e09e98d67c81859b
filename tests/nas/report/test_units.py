"""Numbers as people read them."""

import math

import pytest

from nas.report.units import context, count, duration, markdown, number, p_value, repeated, signed, size, tokens


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1234, "1.23 k"),
        (12_345_678, "12.3 M"),
        (999_999, "1.00 M"),
        (2.5e13, "25.0 T"),
        (4e22, "40.0 Z"),
        (0.5, "0.50"),
        (math.nan, "-"),
    ],
)
def test_counts(value: float, shown: str) -> None:
    assert count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(1023, "1023 B"), (1024, "1.00 KiB"), (1_572_864, "1.50 MiB"), (2**41, "2.00 TiB")]
)
def test_sizes(value: float, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.5, "1.50 s"), (0.0123, "12.3 ms"), (1.25e-5, "12.5 µs"), (4e-9, "4.00 ns"), (None, "-"), (math.nan, "-")],
)
def test_durations(value: float | None, shown: str) -> None:
    assert duration(value) == shown


def test_p_values_differences_and_contexts() -> None:
    assert [p_value(p) for p in (None, 3e-7, 0.0312, 1.0)] == ["-", "< 0.001", "0.031", "1.000"]
    assert [signed(value) for value in (0.25, -0.25, -1e-9)] == ["+0.250", "-0.250", "+0.000"]
    assert [context(length) for length in (4096, 131072, 500)] == ["4k", "128k", "500"]


def test_lengths_and_names_in_a_row() -> None:
    assert [tokens(512, factor) for factor in (1, 8)] == ["512 tokens", "4,096 tokens (8x)"]
    assert repeated(["linear", "linear", "softmax", "linear"]) == "2 x linear, softmax, linear"


def test_a_table_is_padded_so_that_its_source_reads_as_one() -> None:
    assert markdown([{"a": "1", "long": "x"}, {"a": "22", "long": "y"}]) == (
        "| a  | long |\n| -- | ---- |\n| 1  | x    |\n| 22 | y    |\n"
    )


def test_what_is_not_known_is_a_dash() -> None:
    assert [number(value) for value in (0.12345, None, math.nan)] == ["0.123", "-", "-"]
