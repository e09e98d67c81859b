"""Planted recall: every query has its value in a planted block, and the stream depends on seed and step alone."""

from zlib import crc32

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


HARDER: dict[str, dict[str, int]] = {
    "distractors": {"distractors": 5},
    "blocks that are not aligned": {"aligned": False},
    "noise of keys and values": {"shared_noise": True},
    "all of these": {"distractors": 5, "aligned": False, "shared_noise": True},
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
    for tokens, targets, planted in zip(*(part.tolist() for part in batch[:3]), strict=True):
        pairs = answers(tokens, planted)
        asked = [i for i, target in enumerate(targets) if target != IGNORE]
        assert len(asked) == OPTIONS["queries"]
        assert all(pairs[tokens[i]] == targets[i] for i in asked)


@pytest.mark.parametrize("options", HARDER.values(), ids=HARDER)
@pytest.mark.parametrize("factor", [1, 4])
def test_the_token_after_the_only_earlier_place_of_a_key_is_its_value(options: dict[str, int], factor: int) -> None:
    for batch in recall(**options).validation_batches(factor):
        assert batch.planted is not None
        context = batch.tokens.shape[1] - 2 * OPTIONS["queries"]
        for tokens, targets, planted in zip(*(part.tolist() for part in batch[:3]), strict=True):
            for at, target in enumerate(targets):
                if target != IGNORE:
                    places = [place for place in range(context) if tokens[place] == tokens[at]]
                    assert len(places) == 1
                    assert tokens[places[0] + 1] == target
                    assert planted[places[0]]
                    assert planted[places[0] + 1]


def test_distractors_are_pairs_that_are_never_queried() -> None:
    batch = recall(distractors=5).full_batch(0)
    assert batch.planted is not None
    is_key, before_queries = batch.tokens < OPTIONS["keys"], torch.arange(128) < 112
    assert (is_key & before_queries).sum(1).unique().tolist() == [19]
    assert (is_key & before_queries & batch.planted).sum(1).unique().tolist() == [14]
    shorter = [recall(distractors=5).train_batch(step) for step in range(40)]
    keys = {
        ((one.tokens < 20) & (one.targets == IGNORE)).sum().item() // 4 for one in shorter if len(one.tokens[0]) == 64
    }
    assert keys == {8, 12, 19}
    crowded = recall(distractors=12, keys=40, pairs=14, min_pairs=14)  # three blocks have room for 21 pairs
    keys = {int((one.tokens < 40).sum()) // 4 - 8 for one in map(crowded.train_batch, range(9))}
    assert keys == {21, 26}


def test_a_block_that_is_not_aligned_starts_anywhere() -> None:
    starts = {int(row.int().argmax()) for row in recall(aligned=False, pairs=7, batch_size=800).full_batch(0).planted}
    assert starts == set(range(112 - 16 + 1))


def test_shared_noise_has_keys_and_values_alike() -> None:
    tokens = recall(shared_noise=True, batch_size=400).full_batch(0).tokens
    assert tokens[:, :112].max() < 30
    assert tokens[:, 112::2].min() >= 30
    counts = torch.bincount(tokens[:, :112].flatten())
    assert counts.min() > 700


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
        ({"distractors": 36}, r"data.distractors=36 do not fit: data.length=128 has room for 35 .*; give at most 35"),
        ({"distractors": 7}, r"data.distractors=7 with data.pairs=14 need 21 different keys, but data.keys=20; give"),
        (
            {"distractors": 6, "shared_noise": True},
            r"data.distractors=6 and data.shared_noise=true with data.pairs=14 need 21 .*; give .* at least 21",
        ),
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


def test_the_defaults_draw_the_data_of_earlier_versions() -> None:
    explicit: dict[str, int] = {"distractors": 0, "aligned": True, "shared_noise": False}
    for options in ({}, explicit):
        batches = recall(**options).train_batch(0), recall(**options).validation_batches(2)[0]
        assert [crc32(batch.tokens.numpy().tobytes()) for batch in batches] == [2257057964, 1795105608]
