"""The number of trainings at a time."""

from pathlib import Path

import pytest
import torch

from nas.comparisons import workers as processes
from tests.nas.comparisons.test_jobs import made


@pytest.mark.parametrize(
    ("given", "device", "gpus", "small", "workers"),
    [
        ("3", "cuda", 1, True, 3),
        ("auto", "cpu", 0, True, 16),
        ("auto", "cuda", 1, True, processes.SIDE_BY_SIDE),
        ("auto", "cuda", 2, True, 16),
        ("auto", "cuda", 4, False, 4),
    ],
    ids=["as given", "a core each", "beside each other on a GPU", "no more than cores", "large models"],
)
def test_small_models_share_a_machine(
    given: str, device: str, gpus: int, small: bool, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = made(tmp_path, f"workers={given}")
    monkeypatch.setattr(processes, "root_device", lambda trainer: torch.device(device))
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)), raising=False)
    if not small:
        monkeypatch.setattr(processes, "SMALL", 10)
    assert processes.at_a_time(jobs.config, jobs.contenders) == workers
