"""Zoology's recall: every key is queried once after the pairs, and settings appear in their proportions."""

from collections import Counter
from typing import Any

import pytest
import torch

from nas.data.batch import IGNORE
from nas.data.mqar import EMPTY, MQAR
from nas.errors import UserError

OPTIONS: dict[str, Any] = {
    "vocab_size": 64,
    "length": 64,
    "pairs": 8,
    "settings": [[32, 4, 3], [64, 8, 1]],
    "power_a": 0.01,
    "random_non_queries": True,
    "batch_size": 4,
    "validation_batches": 3,
    "seed": 0,
}


def mqar(**changed: Any) -> MQAR:
    return MQAR(**{**OPTIONS, **changed})


@pytest.mark.parametrize("step", range(6))
def test_every_key_is_queried_once_after_the_pairs(step: int) -> None:
    batch = mqar().train_batch(step)
    for tokens, targets, planted in zip(*(part.tolist() for part in batch[:3]), strict=True):
        pairs = 4 if len(tokens) == 32 else 8
        assert planted == [True] * 2 * pairs + [False] * (len(tokens) - 2 * pairs)
        stated = dict(zip(tokens[: 2 * pairs : 2], tokens[1 : 2 * pairs : 2], strict=True))
        asked = [i for i, target in enumerate(targets) if target != IGNORE]
        assert {tokens[i]: targets[i] for i in asked} == stated
        assert len(stated) == len(set(stated.values())) == len(asked) == pairs
        assert all(i >= 2 * pairs and i % 2 == 0 for i in asked)
        assert all(0 < key < 32 <= value < 64 for key, value in stated.items())


def test_other_places_are_random_tokens_or_empty() -> None:
    random, empty = (
        mqar(random_non_queries=given, batch_size=64).full_batch(0).tokens[:, 16:] for given in (True, False)
    )
    asked = mqar(batch_size=64).full_batch(0).targets[:, 16:] != IGNORE
    assert random[~asked].unique().tolist() == list(range(64))
    assert Counter((empty != EMPTY).sum(1).tolist()) == {8: 64}


def test_distances_follow_the_power_law() -> None:
    batch = mqar(batch_size=4000, pairs=1, settings=[[64, 1, 1]]).full_batch(0)
    distance = ((batch.targets != IGNORE).int().argmax(1) - 2) // 2  # from 0 to 30
    measured = torch.bincount(distance, minlength=31) / 4000
    expected = torch.arange(1, 32) ** (0.01 - 1)
    torch.testing.assert_close(measured, expected / expected.sum(), atol=0.02, rtol=0)


def test_a_batch_has_one_setting_drawn_by_weight() -> None:
    task = mqar()
    drawn = Counter(tuple(task.train_batch(step).tokens.shape) for step in range(400))
    assert set(drawn) == {(4, 32), (4, 64)}
    assert drawn[4, 32] == pytest.approx(300, abs=40)


def test_the_proportions_of_zoology_fit() -> None:
    settings = [[64, 4, 5], [128, 8, 1], [256, 16, 1], [256, 32, 1], [256, 64, 1]]
    task = mqar(vocab_size=8192, length=256, pairs=64, settings=settings)
    for factor, (length, pairs) in {1: (256, 64), 2: (512, 128), 4: (1024, 256)}.items():
        batch = task.validation_batches(factor)[0]
        assert batch.tokens.shape == (4 // factor, length)
        assert (batch.targets != IGNORE).sum(1).unique().tolist() == [pairs]
        assert batch.planted is not None
        assert batch.planted.sum(1).unique().tolist() == [2 * pairs]


def test_a_batch_depends_on_seed_step_and_part_alone() -> None:
    task = mqar(settings=[[64, 8, 1]])
    first = task.train_batch(5).tokens
    task.train_batch(6)
    assert torch.equal(first, task.train_batch(5).tokens)
    others = [task.train_batch(6), task.train_batch(5, "weights"), task.train_batch(5, "choices"), task.full_batch(5)]
    assert not any(torch.equal(first, other.tokens) for other in others)
    assert not torch.equal(first, mqar(settings=[[64, 8, 1]], seed=1).train_batch(5).tokens)


def test_token_text_names_the_kind() -> None:
    assert [mqar().token_text(token) for token in (0, 1, 31, 32, 63)] == ["0", "k1", "k31", "v0", "v31"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"pairs": 17}, "64 tokens have no room for 17 pairs .* at least 68 tokens, or at most 16 pairs"),
        ({"vocab_size": 17}, "8 pairs need .* data.vocab_size=17 has 7; give at least 18"),
        ({"vocab_size": 0}, "data.vocab_size=0 has 0"),
        ({"settings": []}, "data.settings is empty"),
        ({"settings": [[64, 8]]}, r"data.settings has \[64, 8\]; give \[length, pairs, weight\]"),
        ({"settings": [[64, 8, 0]]}, r"data.settings has \[64, 8, 0\]; give"),
        ({"settings": [[128, 8, 1]]}, r"data.settings has \[128, 8, 1\], longer than data.length=64"),
        ({"settings": [[32, 16, 1]]}, r"data.settings has \[32, 16, 1\]: 32 tokens have no room"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_cannot_work_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        mqar(**changed)


def test_a_length_factor_with_too_few_keys_is_refused() -> None:
    with pytest.raises(UserError, match=r"data.length_factors has 4: 32 pairs need as many different keys"):
        mqar().validation_batches(4)


def test_chance_is_a_guess_among_the_values() -> None:
    assert mqar(vocab_size=64).chance() == 1 / 32
