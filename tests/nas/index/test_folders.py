"""Which folders are runs, and which files are read."""

import os
from pathlib import Path

import pytest

from nas.index.folders import fingerprint, read, run_folders


def test_runs_are_found_at_every_depth_and_not_behind_links(tmp_path: Path) -> None:
    for name in ("sweep/a/search/b", "search/c", ".hidden", "search/c/checkpoints", "elsewhere/d"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "sweep/a/config.yaml").touch()
    (tmp_path / "damaged/checkpoints").mkdir(parents=True)
    (tmp_path / "search/link").symlink_to(tmp_path / "elsewhere/d", target_is_directory=True)
    found = [str(path.relative_to(tmp_path)) for path in run_folders(tmp_path)]
    assert found == ["damaged", "elsewhere/d", "search/c", "sweep/a", "sweep/a/search/b"]


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    assert read(tmp_path / "secret") == b"secret"
    with pytest.raises(ValueError, match="link is a link"):
        read(tmp_path / "link")
    with pytest.raises(ValueError, match="pipe is not a regular file"):
        read(tmp_path / "pipe")


def test_a_folder_that_cannot_be_listed_has_a_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refused)
    assert "Permission denied" in fingerprint(tmp_path)


def test_a_fingerprint_changes_with_any_file_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    seen = {fingerprint(tmp_path)}
    for name in ("metrics.json", "tensorboard/events.1"):
        (tmp_path / name).write_text("a")
        seen.add(fingerprint(tmp_path))
        os.utime(tmp_path / name, (1, 1))
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 5
