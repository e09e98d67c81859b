"""Files that move from one run folder to another."""

import os
from pathlib import Path

import pytest

from nas.files import checksums
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.runs.moving import move_into


def filled(folder: Path) -> Path:
    """A run folder with a checkpoint, a file without a checksum and one with it."""
    folder.mkdir()
    checkpoints.save(folder, 3, lambda path: path.write_bytes(b"weights"))
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events").write_text("curves")
    Run(folder).write_json("routing.json", {"step": 3})
    return folder


def test_all_files_move_with_their_checksums(tmp_path: Path) -> None:
    run, other = tmp_path / "run", filled(tmp_path / "other")
    run.mkdir()
    Run(run).write_json("own.json", {})
    move_into(run, other)
    assert not other.exists()
    moved = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert moved == {
        *("own.json", "checksums.json", "routing.json", "tensorboard/events", "checkpoints/step=000000003.ckpt"),
    }
    for name in ("own.json", "routing.json", "checkpoints/step=000000003.ckpt"):
        assert checksums.is_recorded(run, run / name)
        checksums.require_intact(run, run / name)
    assert not checksums.is_recorded(run, run / "tensorboard" / "events")


def test_a_move_that_was_cut_off_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = tmp_path / "run", filled(tmp_path / "other")
    run.mkdir()
    replace, moved = os.replace, list[object]()

    def until_killed(old: Path, new: Path) -> None:
        if other in Path(old).parents:
            moved.append(old)
            if len(moved) == 3:
                raise KeyboardInterrupt
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", until_killed)
        with pytest.raises(KeyboardInterrupt):
            move_into(run, other)
    assert checkpoints.newest(run) is None, "the checkpoint moves last"
    for _ in range(2):
        move_into(run, other)
        assert checkpoints.newest(run) == run / "checkpoints" / "step=000000003.ckpt"
        assert (run / "tensorboard" / "events").read_text() == "curves"
