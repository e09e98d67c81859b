"""Planted recall: every query has its value in a planted block, and the stream depends on seed and step alone."""

import pytest
import torch

from nas.data.batch import IGNORE
from nas.data.recall import Recall
from nas.errors import UserError

OPTIONS = {
    "keys": 20,
    "values": 10,
    "noise": 5,
    "length": 128,
    "min_length": 64,
    "pairs": 14,
    "min_pairs": 3,
    "block_size": 16,
    "block_margin": 2,
    "queries": 8,
    "batch_size": 4,
    "validation_batches": 3,
    "seed": 0,
}


def recall(**changed: int) -> Recall:
    return Recall(**{**OPTIONS, **changed})


def answers(tokens: list[int], planted: list[bool]) -> dict[int, int]:
    """Read the map from key to value off the planted tokens, in pairs."""
    stated = [token for token, is_planted in zip(tokens, planted, strict=True) if is_planted]
    return dict(zip(stated[::2], stated[1::2], strict=True))


@pytest.mark.parametrize("step", range(8))
def test_every_query_has_a_planted_pair(step: int) -> None:
    batch = recall().train_batch(step)
    for tokens, targets, planted in zip(*(part.tolist() for part in batch), strict=True):
        pairs = answers(tokens, planted)
        asked = [i for i, target in enumerate(targets) if target != IGNORE]
        assert len(asked) == OPTIONS["queries"]
        assert all(pairs[tokens[i]] == targets[i] for i in asked)


def test_unplanted_tokens_are_noise_except_the_queries() -> None:
    batch = recall().train_batch(0)
    rest = ~batch.planted & (batch.targets == IGNORE)
    assert (batch.tokens[rest] >= OPTIONS["keys"] + OPTIONS["values"]).all()
    assert (batch.tokens[batch.targets != IGNORE] < OPTIONS["keys"]).all()


def test_blocks_stand_on_the_grid_and_end_in_noise() -> None:
    batch = recall(pairs=14, min_pairs=14).train_batch(1)
    blocks = batch.planted.unflatten(1, (-1, 16))
    assert set(blocks.sum(-1).flatten().tolist()) == {0, 14}
    assert not blocks[..., -2:].any()


def test_difficulty_is_drawn_per_batch() -> None:
    batches = [recall().train_batch(step) for step in range(60)]
    assert {batch.tokens.shape[1] for batch in batches} == {64, 128}
    assert {int(batch.planted[0].sum()) // 2 for batch in batches} == {3, 7, 14}


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    task = recall()
    first = task.train_batch(5)
    task.train_batch(6)
    assert torch.equal(first.tokens, task.train_batch(5).tokens)
    assert torch.equal(first.tokens, recall().train_batch(5).tokens)
    different = recall(seed=1).train_batch(5).tokens
    assert first.tokens.shape != different.shape or not torch.equal(first.tokens, different)


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_validation_is_full_difficulty_and_fixed(factor: int) -> None:
    batches = recall().validation_batches(factor)
    assert len(batches) == OPTIONS["validation_batches"]
    for batch, again in zip(batches, recall().validation_batches(factor), strict=True):
        assert batch.tokens.shape[1] == factor * OPTIONS["length"]
        assert batch.planted.sum(1).unique().tolist() == [2 * OPTIONS["pairs"]]
        assert torch.equal(batch.tokens, again.tokens)


def test_token_text_names_the_kind() -> None:
    assert [recall().token_text(token) for token in (0, 19, 20, 29, 30, 34)] == ["k0", "k19", "v0", "v9", "n0", "n4"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"pairs": 21}, "data.pairs=21"),
        ({"block_size": 3}, "data.block_size=3"),
        ({"block_margin": 15}, "data.block_margin=15 leave no room"),
        ({"min_length": 256}, "data.min_length=256"),
        ({"min_pairs": 15}, "data.min_pairs=15"),
        ({"min_length": 40}, "data.min_length=40"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_cannot_work_are_named(changed: dict[str, int], named: str) -> None:
    with pytest.raises(UserError, match=named):
        recall(**changed)


def test_selection_batches_are_like_validation_batches_but_disjoint() -> None:
    task = recall(batch_size=3, validation_batches=4)
    chosen, validation = task.selection_batches(6), task.validation_batches()
    assert len(chosen) == 6
    assert {batch.tokens.shape for batch in chosen} == {batch.tokens.shape for batch in validation}
    sequences = [{tuple(row.tolist()) for batch in part for row in batch.tokens} for part in (chosen, validation)]
    assert [len(part) for part in sequences] == [18, 12]
    assert not sequences[0] & sequences[1]
    again = recall(batch_size=3, validation_batches=4).selection_batches(2)
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(again, chosen, strict=False))


def test_chance_is_a_guess_among_the_values() -> None:
    assert recall(values=8).chance() == 1 / 8
