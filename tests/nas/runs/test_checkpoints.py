"""The checkpoints of a run folder: which are kept, and what is said of damaged ones."""

import errno
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.runs import checkpoints
from tests.nas.commands import nas, refusal
from tests.nas.runs.bomb import Bomb
from tests.nas.runs.test_folder import refused


def test_the_two_newest_checkpoints_are_kept_and_only_once_they_are_whole(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None
    for step in (8, 9, 10):
        checkpoints.save(tmp_path, step, lambda path: torch.save({}, path))
    assert [path.name for path in checkpoints.paths(tmp_path)] == ["step=000000010.ckpt", "step=000000009.ckpt"]

    def fail(path: Path) -> None:
        path.write_bytes(b"half of")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoints.save(tmp_path, 12, fail)
    assert [path.name for path in checkpoints.paths(tmp_path)] == ["step=000000010.ckpt", "step=000000009.ckpt"]


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_checkpoint_with_python_in_it_is_not_run(finished: Path, tmp_path: Path, write: Any) -> None:
    bomb = tmp_path / "bomb"
    (finished / "checksums.json").unlink()
    for checkpoint in (finished / "checkpoints").iterdir():
        write({"global_step": Bomb(bomb)}, checkpoint)
    message = refusal("search", f"resume={finished}")
    assert "is damaged (it cannot be read: UnpicklingError), and no older checkpoint is intact" in message
    assert not bomb.exists()


def test_a_damaged_checkpoint(finished: Path) -> None:
    newest, older = checkpoints.paths(finished)
    whole = newest.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[: len(whole) // 2], b"", b"nonsense", bytes(flipped)):
        newest.write_bytes(damaged)
        message = refused(finished)
        assert f"{newest} is damaged (its checksum is not the one in checksums.json), but {older} is intact" in message
        assert "delete the former to continue from step 4" in message
    older.write_bytes(b"")
    assert "and no older checkpoint is intact; start a new run" in refused(finished)


@pytest.mark.parametrize("content", [{}, {"global_step": "six"}, {"global_step": None}, [6]], ids=str)
def test_a_checkpoint_of_another_content(finished: Path, content: Any) -> None:
    newest, _ = checkpoints.paths(finished)
    (finished / "checksums.json").unlink()
    torch.save(content, newest)
    assert f"{newest} is damaged" in refused(finished)


def test_a_run_goes_on_from_its_older_checkpoint_and_ends_as_it_did(finished: Path) -> None:
    weights = (finished / "model.safetensors").read_bytes()
    checkpoints.paths(finished)[0].unlink()
    ended = nas("search", f"resume={finished}")
    assert ended.status == 0, ended.err
    assert "Continuing from step 4" in ended.out
    assert (finished / "model.safetensors").read_bytes() == weights
