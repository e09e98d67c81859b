"""Tables of results as Markdown."""

import math


def markdown(rows: list[dict[str, str]]) -> str:
    """A Markdown table of rows that share their keys, columns padded so that the source reads as a table too."""
    columns = list(rows[0])
    widths = {column: max(len(column), *(len(row[column]) for row in rows)) for column in columns}

    def line(cells: dict[str, str]) -> str:
        return "| " + " | ".join(cells[column].ljust(widths[column]) for column in columns) + " |"

    rule = "| " + " | ".join("-" * widths[column] for column in columns) + " |"
    return "\n".join([line({column: column for column in columns}), rule, *map(line, rows)]) + "\n"


def number(value: float | None) -> str:
    """Three decimals, or a dash where there is nothing to report: None, or nan."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
