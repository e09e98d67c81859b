"""Paths that users give: one place for all libraries."""

from pathlib import Path

import pytest

from nas.errors import UserError
from nas.runs.paths import absolute
from tests.nas.commands import SEARCH, SHORT, Ended, nas, refusal


def test_home_and_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("RUNS", "/data")
    monkeypatch.chdir(tmp_path)
    assert absolute("output", "~/runs") == "/home/me/runs"
    assert absolute("output", "$RUNS/x/../y") == "/data/y"
    assert absolute("output", "outputs") == str(tmp_path / "outputs")


@pytest.mark.parametrize("given", ["$NOWHERE_AT_ALL/x", "a::b", "s3://bucket/x"])
def test_what_libraries_read_as_something_else_is_refused(given: str) -> None:
    with pytest.raises(UserError, match=r"output=.* has .*, which libraries do not read as part of a name"):
        absolute("output", given)


@pytest.mark.parametrize("name", ["a::b", "a$b"])
def test_such_names_are_refused(name: str, tmp_path: Path) -> None:
    assert "cannot be part of a folder's name" in refusal("search", *SEARCH, f"name='{name}'", f"output={tmp_path}")
    assert not list(tmp_path.rglob("*"))


def test_a_run_below_the_home_folder_is_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    ended = nas("search", *SEARCH, *SHORT, "output='~/My%20Runs'", "name='a?b=c [x] #1'")
    assert ended.status == 0, ended.err
    assert ended.run.parent == home / "My%20Runs" / "search"
    assert list((ended.run / "tensorboard").glob("events*"))
    assert not list(here.iterdir())
    assert nas("search", f"resume='~/My%20Runs/search/{ended.run.name}'").status == 0


def test_the_page_of_a_run_is_found_from_the_home_folder(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(finished.parent))
    ended: Ended = nas("visualize", f"run='~/{finished.name}'", "output='~/page.html'")
    assert ended.status == 0, ended.err
    assert (finished.parent / "page.html").is_file()
