"""Files are written whole or not at all, and not through links that were there before."""

import os
import stat
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.files.saving import replacing, subfolder


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine", encoding="utf-8")
    for name in (".report.html.part", "report.html"):
        (tmp_path / name).symlink_to(mine)
    with replacing(tmp_path / "report.html") as temporary:
        temporary.write_text("page", encoding="utf-8")
    assert mine.read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "page"
    assert not (tmp_path / "report.html").is_symlink()


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    names = []

    def fail() -> None:
        with replacing(path) as temporary:
            names.append(temporary.name)
            raise OSError("full")

    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            fail()
    assert len(set(names)) == 2, "names cannot be guessed"
    assert [(one.name, one.read_text(encoding="utf-8")) for one in tmp_path.iterdir()] == [("file", "old")]


def test_the_content_is_on_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync") or fsync(descriptor))
    monkeypatch.setattr(os, "replace", lambda *paths: calls.append("rename") or replace(*paths))
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert calls == ["fsync", "rename", "fsync"]
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="figures is a link, so files would be written to another folder"):
        subfolder(tmp_path / "run", "figures")
    assert subfolder(tmp_path / "run", "checkpoints").is_dir()
