"""Checkpoints do not pass through the folder for temporary files."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.distributed.checkpoint_io import LocalCheckpointIO
from tests.nas.commands import SEARCH, SHORT, nas
from tests.nas.disks import small_disk


def test_a_run_needs_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    ended = nas("search", *SEARCH, *SHORT, f"output={tmp_path}")
    assert ended.status == 0, ended.err
    assert list(ended.run.glob("checkpoints/*.ckpt"))


@pytest.mark.parametrize(("size", "room"), [(10, 0), (10, 100), (10, 1500), (100_000, 5000), (100_000, 50_000)])
def test_a_full_disk_is_an_error_of_the_operating_system(tmp_path: Path, size: int, room: int) -> None:
    weights = {f"layer {layer}": torch.zeros(size) for layer in range(9)}
    with small_disk(room), pytest.raises(OSError, match="File too large"):
        LocalCheckpointIO().save_checkpoint(weights, tmp_path / "weights")
