"""Checksums of the files of a run."""

import json
import os
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.files.checksums import CHECKSUMS, is_intact, recording, require_intact


def write(path: Path, text: str) -> None:
    """Write a file of a run folder, with its checksum."""
    with recording(path.parent, path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def test_a_changed_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    assert is_intact(tmp_path, path), "nothing is recorded yet"
    with recording(tmp_path, path) as temporary:
        temporary.write_bytes(b"abd")
    require_intact(tmp_path, path)
    path.write_bytes(b"abb")
    assert not is_intact(tmp_path, path)
    with pytest.raises(UserError, match=r"file is damaged: its checksum is not the one in checksums\.json"):
        require_intact(tmp_path, path)


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write(tmp_path / name, name)
        (tmp_path / "one").unlink(missing_ok=True)
    assert list(json.loads((tmp_path / CHECKSUMS).read_text(encoding="utf-8"))) == ["other"]


@pytest.mark.parametrize("listed", [True, False], ids=["", "of an earlier version"])
@pytest.mark.parametrize("place", ["file", CHECKSUMS])
def test_a_process_killed_between_the_file_and_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, listed: bool
) -> None:
    path, replace = tmp_path / "file", os.replace
    write(path, "old")
    if not listed:
        (tmp_path / CHECKSUMS).unlink()

    def killed(source: Path, target: Path) -> None:
        if Path(target).name == place:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert is_intact(tmp_path, path)
    write(path, "new")
    require_intact(tmp_path, path)
    path.write_text("nex", encoding="utf-8")
    assert not is_intact(tmp_path, path)


@pytest.mark.parametrize("damaged", ["", "{", "[]", "3", '{"file": 3}', "\xff"])
def test_a_damaged_list_is_named(tmp_path: Path, damaged: str) -> None:
    (tmp_path / CHECKSUMS).write_text(damaged, encoding="latin-1")
    (tmp_path / "file").write_bytes(b"abc")
    with pytest.raises(UserError, match=r"checksums\.json is damaged, .*; delete it to use them as they are"):
        require_intact(tmp_path, tmp_path / "file")
