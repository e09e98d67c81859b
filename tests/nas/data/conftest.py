"""Small texts in files."""

from pathlib import Path

import pytest

from tests.nas.data.texts import POEM


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_bytes(POEM)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make 100 files of 200 bytes, each one byte repeated, so that a byte identifies its file."""
    root = tmp_path / "folder"
    for index in range(100):
        path = root / f"part{index % 7}" / f"{index:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([index + 1]) * 200)
    return root
