"""Batches: planted chunks and scored positions."""

import torch

from nas.data.batch import planted_chunks, selection_of


def test_planted_chunks_counts_any_planted_token_and_a_short_last_chunk() -> None:
    planted = torch.tensor([[0, 0, 1, 0, 0, 0, 1]], dtype=torch.bool)
    assert planted_chunks(planted, 3).tolist() == [[True, False, True]]


class Short:
    """A task whose batches for selection have the training length alone."""

    def selection_batches(self, count: int) -> list[int]:
        return [1] * count


class Long:
    """A task whose batches for selection may be longer."""

    def selection_batches(self, count: int, length_factor: int = 1) -> list[int]:
        return [length_factor] * count


def test_selection_batches_have_the_training_length_or_a_multiple() -> None:
    assert selection_of(Short(), 2, 1) == [1, 1]  # type: ignore[arg-type, comparison-overlap]
    assert selection_of(Long(), 2, 4) == [4, 4]  # type: ignore[arg-type, comparison-overlap]
