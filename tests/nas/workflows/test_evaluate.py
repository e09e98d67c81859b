"""The workflow of an evaluation: where results go, and Ctrl-C."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from nas.config import EvaluateConfig
from nas.results.opened import OpenedRun
from nas.workflows import evaluate as workflow


def test_ctrl_c_says_how_to_continue(of_bytes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def interrupted(opened: OpenedRun, config: EvaluateConfig, output: Path, console: Console) -> None:
        given.append((opened.run.path, output))
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "evaluate_shares", interrupted)
    console = Console(file=io.StringIO(), width=200)
    config = EvaluateConfig(run=str(of_bytes), share=[0.5], output=str(tmp_path / "a" / "b"))
    assert workflow.evaluate(config, console) == 130
    assert given == [(of_bytes, tmp_path / "a" / "b")]
    assert "The same command continues" in console.file.getvalue()  # type: ignore[attr-defined]
