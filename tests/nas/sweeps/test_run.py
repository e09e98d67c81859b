"""The command of a sweep: on a terminal, and without a complete trial."""

import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from nas.sweeps.run import sweep
from tests.nas.commands import SEARCH, composed, nas
from tests.nas.sweeps.sweeping import SPEED, SWEEP, diverging_above, metrics


def test_a_sweep_of_which_every_trial_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging_above(1, monkeypatch)
    ranges = (f"{SPEED}.low=5", f"{SPEED}.high=10")
    ended = nas("sweep", *SWEEP, *ranges, "sweep.trials=2", f"output={tmp_path}")
    assert ended.status == 1
    assert ended.out.count("training diverged") >= 2
    assert "No trial is complete, so the sweep has no result." in ended.out
    assert metrics(ended.run)["best"] == []


def test_a_terminal_shows_the_trials_and_the_steps_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed("sweep", *SWEEP, "sweep.trials=2", f"output={tmp_path}")
    config.sweep.search = list(SEARCH)
    console = Console(file=open(tmp_path / "shown", "w+"), force_terminal=True, width=80)  # noqa: SIM115
    assert sweep(config, console) == 0
    console.file.seek(0)
    shown = Text.from_ansi(console.file.read()).plain
    lines = shown.splitlines()
    assert any(re.match(r"trials\s+━+.* 2/2 ", line) for line in lines)
    assert any(re.match(r"trial 2 of 2\s+━+.* 6/6 ", line) for line in lines)
    assert any(re.match(r"  best recall \d\.\d{3} \(trial \d\)", line) for line in lines)
    assert any(re.match(r"  loss \d\.\d{3}  recall \d\.\d{3}  share", line) for line in lines)
