"""The speed of searches, measured on a CPU."""

import pytest

from experiments.gpu_search import spaces, watch
from tests.nas.training.graphs.uncaptured import without_gpu

__all__ = ["without_gpu"]

SMALL = (
    *("model.width=8", "model.key_dim=4", "model.value_dim=4", "model.mlp_width=8", "model.layers=2"),
    *("data.length=16", "data.min_length=16", "data.block_size=4", "data.pairs=2", "data.min_pairs=1"),
    *("data.batch_size=2", "data.queries=2", "model.chunk_size=4", "space.chunk_sizes=[4,8]"),
    *("trainer.accelerator=cpu", "trainer.steps=2", "trainer.log_every=1", "searcher.batches=1"),
)


def test_training_and_candidates_are_timed_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "CANDIDATES", 2)
    joint = spaces.time_search(spaces._config(*spaces.SEARCHES["joint, evolution"], *SMALL))
    assert joint.tokens == 32
    assert joint.candidate_tokens >= 32
    assert joint.candidate_seconds is not None
    assert joint.recordings == 0
    assert joint.profiles is None
    base = spaces.Timed(4000, 3200, 1, 1, 3.0, tokens=32, candidate_seconds=None, candidate_tokens=0, seconds=11)
    other = spaces.Timed(2000, 1000, 42, 60, 7.0, tokens=32, candidate_seconds=0.02, candidate_tokens=60, seconds=12)
    rows = spaces._table({"token_hybrid": base, "joint": other}).splitlines()[2:]
    assert [[cell.strip() for cell in row.split("|")[2:-1]] for row in rows] == [
        ["8.00", "10.00", "4,000", "1.00", "-", "-", "-", "1", "1", "3", "11"],
        ["16.00", "32.00", "2,000", "0.50", "50.0", "3,000", "0.75", "42", "60", "7", "12"],
    ]


@pytest.mark.usefixtures("without_gpu")
def test_steps_are_profiled_after_those_that_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PROFILED", 2)
    monkeypatch.setattr(spaces, "PROFILED", 2)
    monkeypatch.setattr(spaces, "CANDIDATES", 2)
    timed = spaces.time_search(spaces._config(*spaces.SEARCHES["layer_hybrid, evolution"], *SMALL), profiled=True)
    assert timed.recordings >= 2 + 2, "what precedes and what follows the blocks, and each block"
    assert 1 <= timed.last_recording <= 4
    assert timed.recording_seconds > 0
    assert timed.profiles is not None
    text = watch.tables({"evolution": timed.profiles}, {"evolution": timed.milliseconds})
    for part in ("GPU idle", "launches", "host launching graphs", "matrix products", "clipping"):
        assert part in text


def test_the_second_half_of_the_intervals_leaves_out_recordings() -> None:
    assert watch.second_half([1.0, 1.0, 1.0, 5.0, 4.0, 6.0]) == 5.0
