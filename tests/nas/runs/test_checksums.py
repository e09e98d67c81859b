"""Checksums of the files of a run."""

import json
from pathlib import Path

import pytest

from nas.errors import UserError
from nas.runs.checksums import CHECKSUMS, is_intact, record, require_intact


def test_a_changed_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "file"
    path.parent.mkdir()
    path.write_bytes(b"abc")
    assert is_intact(tmp_path, path), "nothing is recorded yet"
    record(tmp_path, path)
    require_intact(tmp_path, path)
    path.write_bytes(b"abb")
    assert not is_intact(tmp_path, path)
    with pytest.raises(UserError, match=r"file is damaged: its checksum is not the one in checksums\.json"):
        require_intact(tmp_path, path)


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_bytes(b"")
        record(tmp_path, tmp_path / name)
        (tmp_path / "one").unlink(missing_ok=True)
    assert list(json.loads((tmp_path / CHECKSUMS).read_text(encoding="utf-8"))) == ["other"]


@pytest.mark.parametrize("damaged", ["", "{", "[]", "3"])
def test_a_damaged_list_is_made_anew(tmp_path: Path, damaged: str) -> None:
    (tmp_path / CHECKSUMS).write_text(damaged, encoding="utf-8")
    (tmp_path / "file").write_bytes(b"abc")
    assert is_intact(tmp_path, tmp_path / "file")
    record(tmp_path, tmp_path / "file")
    assert list(json.loads((tmp_path / CHECKSUMS).read_text(encoding="utf-8"))) == ["file"]
