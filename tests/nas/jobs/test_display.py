"""The display of many jobs: bars on a terminal, elsewhere a line for each job that has ended."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from nas.jobs.display import Display
from nas.jobs.events import Began, Ended, Event, Released, Stepped

TAKEN_OVER: list[tuple[int, Event]] = [
    (0, Began(3, "first")),
    (1, Began(3, "second")),
    (0, Released(3, "another worker took it over")),
    (1, Stepped(3, 5, 6, "loss 0.500")),
    (0, Began(2, "third")),
    (1, Ended(3, "recall 0.9", 1, "best recall 0.9")),
]
"""Worker 0 was assumed dead while it ran job 3, which worker 1 runs again."""


def shown(terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with Display(console, "trial", 4, 0, "") as display:
        for worker, event in TAKEN_OVER:
            display.show(event, worker)
        display.drop(0)
        display.drop(0)
    assert isinstance(console.file, io.StringIO)
    return Text.from_ansi(console.file.getvalue()).plain.splitlines()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_job_that_two_workers_report_is_shown_for_both(terminal: bool) -> None:
    lines = shown(terminal)
    assert "trial 4 of 4  has not ended and can be run again: another worker took it over" in lines
    assert ("trial 4 of 4  second  recall 0.9" + ("" if terminal else "  (best recall 0.9)")) in lines
    if terminal:
        assert any(line.startswith("trials") and "1/4" in line for line in lines)
        assert "  best recall 0.9" in lines
    else:
        assert len(lines) == 2
