"""The progress of encoding, with and without a terminal."""

import io
import re
from pathlib import Path

from rich.console import Console

from nas.preparing.pieces import plan
from nas.preparing.progress import Progress
from nas.preparing.unit import Finished
from nas.preparing.workers import Encoded
from tests.nas.preparing.preparing import TEXTS, config, write


def shown(tmp_path: Path, terminal: bool) -> str:
    planned = plan(config(write(tmp_path / "corpus", TEXTS), tmp_path))
    out = io.StringIO()
    with Progress(Console(file=out, force_terminal=terminal, width=200), planned, {0}) as progress:
        for number in range(1, len(planned.units)):
            progress.show(Encoded(number, 10**9))
            progress.show(Finished(number))
    return out.getvalue()


def test_a_file_gets_a_line_for_each_tenth(tmp_path: Path) -> None:
    lines = shown(tmp_path, terminal=False).splitlines()
    assert 7 <= len(lines) <= 10
    assert re.fullmatch(r"0\.0 of 0\.0 MB, [\d.,]+ MB/s, 0 s left", lines[-1])


def test_a_terminal_shows_speed_and_units(tmp_path: Path) -> None:
    assert re.search(r"text.*kB.*B/s.*units finished", shown(tmp_path, terminal=True), re.DOTALL)
