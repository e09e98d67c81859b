"""What people see: sentences as they are, bars with figures below, and no notes of other packages."""

import io
import logging
import sys
import warnings

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nas.console import Bars, console_of_command, say, silence, terminal_table


def terminal(width: int = 40) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width)


def shown(console: Console) -> str:
    return Text.from_ansi(console.file.getvalue()).plain  # type: ignore[attr-defined]


def test_a_sentence_is_neither_markup_nor_broken() -> None:
    sentence = f"Open /folder/[bold]of a run/{'long' * 20}/report.html, 3 of 4."
    console = terminal()
    say(console, sentence)
    assert shown(console) == sentence + "\n"


def test_a_table_has_a_column_for_each_key_and_its_first_row_may_be_bold() -> None:
    rows = [{"model": "found", "share": "0.1"}, {"model": "all", "share": "10.25"}]
    console = terminal()
    console.print(terminal_table(rows, "Title", "caption", first_bold=True))
    assert "│ found │   0.1 │" in shown(console)
    assert "│ all   │ 10.25 │" in shown(console)
    bold = [line for line in console.file.getvalue().splitlines() if "\x1b[1m" in line and "│" in line]  # type: ignore[attr-defined]
    assert len(bold) == 1
    assert "found" in bold[0]


def test_a_file_gets_every_row_of_a_table_as_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("option", *(f"measured at {length} tokens" for length in range(1000, 1012)))
    table.add_row("trainer.router_learning_rate", *["336.25 KiB"] * 12)
    monkeypatch.setattr(sys, "stdout", file := io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    console_of_command().print(table)
    (row,) = (line for line in file.getvalue().splitlines() if "KiB" in line)
    assert row.count("336.25 KiB") == 12
    assert "trainer.router_learning_rate" in row
    monkeypatch.setenv("COLUMNS", "60")
    assert console_of_command().width == 60


def test_a_bar_has_its_figures_in_a_line_below_it() -> None:
    console = terminal(80)
    with Bars.on(console) as bar:
        bar.add_task("training", total=4, completed=1, figures="loss 0.5")
    lines = shown(console).splitlines()
    *_, at = (number for number, line in enumerate(lines) if line.startswith("training"))
    assert "1/4" in lines[at]
    assert lines[at + 1].strip() == "loss 0.5"


def test_a_file_gets_no_bar() -> None:
    console = Console(file=io.StringIO())
    with Bars.on(console) as bar:
        bar.add_task("training", total=4, figures="loss 0.5")
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_notes_of_other_packages_are_not_shown() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        silence()
        warnings.warn("The dataloader does not have many workers", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert [str(one.message) for one in heard] == ["something else"]
    assert not logging.getLogger("lightning.pytorch").isEnabledFor(logging.WARNING)
