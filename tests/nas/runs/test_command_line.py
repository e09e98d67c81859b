"""The command that a report shows is one that can be typed again."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from nas.runs.folder import command_line

OPTIONS = ["+space=token_hybrid", "data.path=my corpus"]
SHOWN = "+space=token_hybrid 'data.path=my corpus'"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed command, which is no module."""
    path = tmp_path / "my bin" / "nas-search"
    path.parent.mkdir()
    path.touch(mode=0o755)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", [str(path), *OPTIONS])
    return path


def test_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec("nas.search", None))
    monkeypatch.setattr(sys, "argv", ["/somewhere/nas/search.py", *OPTIONS])
    assert command_line() == f"python -m nas.search {SHOWN}"
    monkeypatch.setattr(sys, "argv", ["/somewhere/nas/search.py"])
    assert command_line() == "python -m nas.search"


def test_a_command_that_the_shell_finds(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(script.parent))
    assert command_line() == f"nas-search {SHOWN}"


def test_a_command_of_an_environment_that_is_not_active(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert command_line() == f"'{script}' {SHOWN}"
    monkeypatch.chdir(script.parent.parent)
    monkeypatch.setattr(sys, "argv", ["my bin/nas-search"])
    assert command_line() == "'my bin/nas-search'"


def test_a_script_of_ones_own(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["my search.py", *OPTIONS])
    assert command_line() == f"python 'my search.py' {SHOWN}"
