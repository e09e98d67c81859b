"""Workers on one machine share its GPUs."""

import os

import pytest

from nas.jobs.processes import GPUS, _environment, gpu_of, orphaned


@pytest.mark.parametrize(
    ("visible", "count", "seen"),
    [
        (None, 2, ["0", "1", "0", "1"]),
        ("3,5,MIG-1", 3, ["3", "5", "MIG-1", "3"]),
        (None, 1, [None] * 4),
        (None, 0, [None] * 4),
        ("7", 1, ["7"] * 4),
    ],
    ids=["two", "three of those that are visible", "one", "none", "one that is visible"],
)
def test_each_worker_sees_one(
    visible: str | None, count: int, seen: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv(GPUS, raising=False)
    if visible is not None:
        monkeypatch.setenv(GPUS, visible)
    told = []
    for number in range(4):
        with _environment(gpu_of(number)):
            told.append(os.environ.get(GPUS))
    assert told == seen
    assert os.environ.get(GPUS) == visible


def test_a_process_that_is_no_worker_has_no_command_to_lose() -> None:
    assert not orphaned()
