"""Runs that many tests look at: made once."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nas.commands import SEARCH, Ended, nas
from tests.nas.plugins.written import Plugins


@pytest.fixture(scope="session")
def search(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A small search that went well; tests do not write to its folder."""
    ended = nas("search", *SEARCH, f"output={tmp_path_factory.mktemp('outputs')}")
    assert ended.status == 0, ended.err
    return ended


@pytest.fixture
def finished(search: Ended, tmp_path: Path) -> Path:
    """A copy of its run folder."""
    return Path(shutil.copytree(search.run, tmp_path / search.run.name))


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """The current folder to write plugins into. What they register and import is gone after the test."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    written = Plugins(folder)
    yield written
    written.unload()
