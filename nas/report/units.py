"""Numbers as text: counts, sizes, durations, p-values and Markdown tables."""

import math
from collections.abc import Iterable
from itertools import groupby

MISSING = "-"
PREFIXES = ("", " k", " M", " G", " T", " P", " E", " Z")
SIZES = (" B", " KiB", " MiB", " GiB", " TiB")
DURATIONS = ((" s", 1.0), (" ms", 1e-3), (" µs", 1e-6))
WORTH = {unit: 1024.0**place for place, unit in enumerate(SIZES)} | dict(DURATIONS) | {" ns": 1e-9}
WORTH |= {unit: 1000.0**place for place, unit in enumerate(PREFIXES)}
"""What a unit is worth, in bytes or seconds, and a decimal prefix."""


def count(value: float) -> str:
    """Return a count with three digits and a decimal prefix: 12,345,678 is "12.3 M"."""
    return _prefixed(value, 1000, PREFIXES)


def size(bytes_: float) -> str:
    """Return a size with three digits and a binary unit: 1,572,864 is "1.50 MiB"."""
    return _prefixed(bytes_, 1024, SIZES)


def duration(seconds: float | None) -> str:
    """Return a duration with three digits in s, ms, µs or ns; a dash for None and nan."""
    if seconds is None:
        return MISSING
    for unit, length in DURATIONS:
        if seconds >= length:
            return _three_digits(seconds / length) + unit
    return MISSING if math.isnan(seconds) else f"{_three_digits(seconds / 1e-9)} ns"


def p_value(p: float | None) -> str:
    """Return a p-value with three decimals, "< 0.001" below that, a dash for None."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def signed(value: float) -> str:
    """Return a difference with its sign and three decimals; a difference that rounds to 0 is "+0.000"."""
    return f"{round(value, 3) + 0.0:+.3f}"


def context(tokens: int) -> str:
    """Return a context length as text: 32,768 is "32k"."""
    return f"{tokens // 1024}k" if tokens % 1024 == 0 else str(tokens)


def tokens(length: int, factor: int) -> str:
    """Return a length as text for headings: 8 times 512 is "4,096 tokens (8x)", once 512 is "512 tokens".

    Args:
        length: length of a training sequence, in tokens.
        factor: multiple of that length.
    """
    return f"{length * factor:,} tokens" + ("" if factor == 1 else f" ({factor}x)")


def repeated(names: Iterable[str]) -> str:
    """Return names as text, equal ones in a row as one: "2 x linear, softmax"."""
    runs = [(name, len(list(same))) for name, same in groupby(names)]
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in runs)


def _prefixed(value: float, step: int, units: tuple[str, ...]) -> str:
    """Return a number with three digits and a unit; whole numbers below ``step`` have all their digits."""
    if not math.isfinite(value):
        return MISSING
    if value == int(value) and abs(value) < step:
        return f"{int(value)}{units[0]}"
    for unit in units[:-1]:
        if abs(value) < 999.5:  # larger values round to 1000, so they take the next unit
            return _three_digits(value) + unit
        value /= step
    return _three_digits(value) + units[-1]


def _three_digits(value: float) -> str:
    before = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(0, 2 - before), 2)}f}"


def markdown(rows: list[dict[str, str]]) -> str:
    """Return a Markdown table of rows with the same keys, with padded columns."""
    columns = list(rows[0])
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in columns}

    def line(cells: dict[str, str]) -> str:
        return "| " + " | ".join(cells[column].ljust(widths[column]) for column in columns) + " |"

    rule = "| " + " | ".join("-" * widths[column] for column in columns) + " |"
    return "\n".join([line({column: column for column in columns}), rule, *map(line, rows)]) + "\n"


def value_of(text: str) -> float | None:
    """Return the number that a text shows, in bytes or seconds if it has such a unit; None if it shows none.

    >>> value_of("1.50 MiB"), value_of("12.3 M"), value_of("2.00 ms"), value_of("-0.5"), value_of("linear")
    (1572864.0, 12300000.0, 0.002, -0.5, None)
    """
    shown, space, unit = text.replace(",", "").replace("\N{MINUS SIGN}", "-").partition(" ")
    try:
        return float(shown) * WORTH[space + unit]
    except (KeyError, ValueError):
        return None


def number(value: float | None) -> str:
    """Return a number with three decimals; a dash for None and nan."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
