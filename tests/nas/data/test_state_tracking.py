"""State tracking: every target is the sum so far, and the stream depends on seed and step alone."""

from typing import Any

import pytest
import torch

from nas.data.state_tracking import StateTracking
from nas.errors import UserError

OPTIONS: dict[str, Any] = {
    "problem": "modular",
    "modulus": 5,
    "length": 64,
    "min_length": 16,
    "batch_size": 4,
    "validation_batches": 3,
    "seed": 0,
}


def tracking(**changed: Any) -> StateTracking:
    return StateTracking(**{**OPTIONS, **changed})


@pytest.mark.parametrize(("problem", "modulus"), [("parity", 2), ("modular", 5)])
def test_every_target_is_the_sum_so_far(problem: str, modulus: int) -> None:
    task = tracking(problem=problem)
    assert task.vocab_size == modulus
    batch = task.train_batch(0)
    assert batch.planted is None
    assert batch.tokens.unique().tolist() == list(range(modulus))
    for tokens, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        state = 0
        for token, target in zip(tokens, targets, strict=True):
            state = (state + token) % modulus
            assert target == state
    assert batch.scored().places is None


def test_lengths_are_drawn_per_batch() -> None:
    assert {tracking().train_batch(step).tokens.shape for step in range(40)} == {(4, 64), (4, 32), (4, 16)}


def test_validation_is_at_full_length_and_fixed() -> None:
    for factor, size in ((1, 4), (2, 2), (8, 1)):
        batches, again = (tracking().validation_batches(factor) for _ in range(2))
        assert [tuple(batch.tokens.shape) for batch in batches] == [(size, 64 * factor)] * 3
        assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(batches, again, strict=True))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    task = tracking(min_length=64)
    first = task.train_batch(5).tokens
    task.train_batch(6)
    assert torch.equal(first, task.train_batch(5).tokens)
    others = task.train_batch(6), task.full_batch(5), tracking(min_length=64, seed=1).train_batch(5)
    assert not any(torch.equal(first, other.tokens) for other in others)


def test_a_token_shows_its_summand() -> None:
    assert [tracking().token_text(token) for token in range(5)] == list("01234")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"problem": "chess"}, "data.problem=chess is unknown; choose one of: parity, modular"),
        ({"min_length": 65}, "data.min_length=65 is more than data.length=64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_cannot_work_are_named(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        tracking(**changed)


@pytest.mark.parametrize(("problem", "chance"), [("parity", 1 / 2), ("modular", 1 / 5)])
def test_chance_is_a_guess_among_the_states(problem: str, chance: float) -> None:
    assert tracking(problem=problem, modulus=5).chance() == chance
