"""`python -m nas`: the list of commands."""

import sys

import pytest

from nas.__main__ import COMMANDS, main
from nas.runs.version import text


def test_it_lists_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["nas"])
    main()
    out = capsys.readouterr().out
    assert all(f"  python -m nas.{name} " in out for name in COMMANDS)
    assert len(out.splitlines()) == len(COMMANDS) + 4


def test_it_prints_the_versions(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "--version"])
    main()
    assert capsys.readouterr().out == f"{text()}\n"


def test_it_refuses_other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "search", "seed=1"])
    with pytest.raises(SystemExit, match=r"error: nas search seed=1 is not a command; run python -m nas\.search\."):
        main()
