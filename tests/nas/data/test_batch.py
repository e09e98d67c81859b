"""Batches: planted chunks and scored positions."""

import torch

from nas.data.batch import planted_chunks


def test_planted_chunks_counts_any_planted_token_and_a_short_last_chunk() -> None:
    planted = torch.tensor([[0, 0, 1, 0, 0, 0, 1]], dtype=torch.bool)
    assert planted_chunks(planted, 3).tolist() == [[True, False, True]]
