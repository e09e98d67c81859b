"""Ctrl-C while a command starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cli.start import interruptible, stopped_at_once
from tests.nas.commands import ROOT

INTERRUPTED_AT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
import nas.{command}
nas.{command}.main()
"""


@pytest.mark.parametrize(
    ("command", "module"),
    [("search", "nas.cli.command"), ("train", "hydra"), ("compare", "nas.comparisons.run"), ("sweep", "numpy")],
)
def test_ctrl_c_during_imports_ends_in_a_line(tmp_path: Path, command: str, module: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED_AT.format(command=command, module=module))
    options = {
        "search": ["+space=token_hybrid"],
        "train": ["architecture=softmax"],
        "compare": [],
        "sweep": ["+space=joint"],
    }
    ended = subprocess.run(
        [sys.executable, str(script), *options[command], f"output={tmp_path}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 130
    assert ended.stderr == "error: stopped before anything was computed.\n"
    assert ended.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_ctrl_c_is_an_exception_again_once_there_is_something_to_save() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_at_once():
        interruptible()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
