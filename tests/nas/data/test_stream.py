"""Streams: every batch is drawn by its own seed, and held-out batches are not training batches."""

import pytest
import torch

from nas.data.batch import Batch, Part
from nas.data.stream import Stream, halvings, pick, spread
from nas.errors import UserError


class Digits(Stream):
    """Random tokens; the targets hold the purpose of the batch."""

    name, quality = "digits", "accuracy"

    def _draw_training(self, size: int, part: Part, random: torch.Generator) -> Batch:
        return self._drawn(size, 1, False, random)

    def _draw_hardest(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        return self._drawn(size, length_factor, held_out, random)

    def _drawn(self, size: int, length_factor: int, held_out: bool, random: torch.Generator) -> Batch:
        tokens = torch.randint(10**6, (size, 8 * length_factor), generator=random)
        return Batch(tokens, torch.full_like(tokens, held_out), None)


def digits(seed: int = 0) -> Digits:
    return Digits(batch_size=4, validation_batches=2, seed=seed)


def test_a_batch_is_a_function_of_seed_use_and_step() -> None:
    stream = digits()
    drawn = [
        stream.train_batch(0),
        stream.train_batch(1),
        stream.train_batch(0, "weights"),
        stream.train_batch(0, "choices"),
        stream.full_batch(0),
        *stream.validation_batches(),
        *stream.selection_batches(2),
        *stream.selection_batches(1, 2),
        digits(seed=1).train_batch(0),
    ]
    assert len({tuple(batch.tokens[0].tolist()) for batch in drawn}) == len(drawn)
    assert torch.equal(digits().train_batch(1).tokens, drawn[1].tokens)


def test_validation_is_held_out_and_longer_batches_have_fewer_sequences() -> None:
    stream = digits()
    assert not stream.full_batch(3).targets.any()
    for factor, size in ((1, 4), (2, 2), (16, 1)):
        batches = stream.validation_batches(factor)
        assert [batch.tokens.shape for batch in batches] == [(size, 8 * factor)] * 2
        assert all(batch.targets.all() for batch in batches)
    assert [batch.tokens.shape for batch in stream.selection_batches(3)] == [(4, 8)] * 3
    assert [batch.tokens.shape for batch in stream.selection_batches(3, 2)] == [(2, 16)] * 3


def test_every_level_is_picked_about_as_often() -> None:
    random = torch.Generator().manual_seed(0)
    drawn = [pick((8, 4, 2), random) for _ in range(3000)]
    assert [drawn.count(level) / 3000 for level in (8, 4, 2)] == pytest.approx([1 / 3] * 3, abs=0.03)


@pytest.mark.parametrize(
    ("full", "least", "levels"), [(64, 16, [64, 32, 16]), (64, 17, [64, 32]), (7, 1, [7, 3, 1]), (5, 5, [5])]
)
def test_halvings_go_down_to_the_minimum(full: int, least: int, levels: list[int]) -> None:
    assert halvings("length", full, least) == levels


def test_a_minimum_above_the_maximum_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.min_pairs=9 is more than data\.pairs=8; give at most 8\."):
        halvings("pairs", 8, 9)


def test_every_placement_of_blocks_is_drawn_about_as_often() -> None:
    starts = spread(2, 3, 8, 6000, torch.Generator().manual_seed(0))
    placements, counts = starts.unique(dim=0, return_counts=True)
    assert placements.tolist() == [[0, 3], [0, 4], [0, 5], [1, 4], [1, 5], [2, 5]]
    assert (counts / 6000).tolist() == pytest.approx([1 / 6] * 6, abs=0.03)
