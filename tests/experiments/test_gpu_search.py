"""The speed of searches, measured on a CPU."""

import pytest

from experiments.gpu_search import spaces

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
    base = spaces.Timed(tokens_per_second=4000, tokens=32, candidate_seconds=None, candidate_tokens=0, seconds=1)
    other = spaces.Timed(tokens_per_second=2000, tokens=32, candidate_seconds=0.02, candidate_tokens=60, seconds=2)
    rows = spaces._table({"token_hybrid": base, "joint": other}).splitlines()[2:]
    assert [[cell.strip() for cell in row.split("|")[2:-1]] for row in rows] == [
        ["8.00", "4,000", "1.00", "-", "-", "-", "1"],
        ["16.00", "2,000", "0.50", "50.0", "3,000", "0.75", "2"],
    ]
