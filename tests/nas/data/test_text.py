"""The text task: the files it reads, their split, the drawn windows, and the errors it raises."""

import itertools
from pathlib import Path

import pytest
import torch

from nas.data.batch import Task
from nas.errors import UserError
from tests.nas.data.texts import POEM, sequences, text


def test_it_is_a_task(poem: Path) -> None:
    task: Task = text(poem)
    assert (task.name, task.vocab_size, task.quality) == ("text", 256, "bits_per_byte")


def test_targets_are_the_next_bytes(poem: Path) -> None:
    batch = text(poem).train_batch(0)
    assert batch.tokens.shape == batch.targets.shape == (4, 16)
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    assert batch.planted is None
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    assert all(window in POEM for window in sequences(batch))


def test_a_step_gives_the_same_batch_whatever_came_before(poem: Path) -> None:
    task, other = text(poem), text(poem)
    for step in range(5):
        task.train_batch(step)
    assert torch.equal(task.train_batch(7).tokens, other.train_batch(7).tokens)


def test_steps_and_seeds_give_different_batches(poem: Path) -> None:
    batches = [text(poem, seed=seed).train_batch(step).tokens for seed, step in [(0, 0), (0, 1), (1, 0)]]
    assert len({tuple(batch.flatten().tolist()) for batch in batches}) == 3


def test_every_training_byte_can_be_drawn_and_no_validation_byte(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(range(1, 101)))
    task = text(tmp_path / "short", length=9, batch_size=2000)
    batch = task.train_batch(0)
    assert batch.tokens.unique().tolist() == list(range(1, 90))
    assert batch.targets.unique().tolist() == list(range(2, 91))


def test_validation_windows_are_fixed_spread_from_end_to_end_and_apart(poem: Path) -> None:
    batches = text(poem, seed=0).validation_batches()
    windows = [window for batch in batches for window in sequences(batch)]
    assert windows == [window for batch in text(poem, seed=1).validation_batches() for window in sequences(batch)]
    starts = [POEM.index(window) for window in windows]
    assert starts[0] == 9000
    assert starts[-1] == 10_000 - 17
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert min(gaps) >= 17
    assert max(gaps) - min(gaps) <= 1


def test_longer_validation_uses_what_fits_in_batches_of_one_size(poem: Path) -> None:
    task = text(poem, validation_batches=30)  # 1,000 bytes: 58 windows of 17, 15 of 65, 3 of 257
    assert [tuple(batch.tokens.shape) for batch in task.validation_batches()] == [(4, 16)] * 14
    assert [tuple(batch.tokens.shape) for batch in task.validation_batches(4)] == [(4, 64)] * 3
    assert [tuple(batch.tokens.shape) for batch in task.validation_batches(16)] == [(3, 256)]


def test_longer_validation_than_the_text_is_refused(poem: Path) -> None:
    task = text(poem)
    with pytest.raises(UserError, match=r"validation sequence needs 1,025 bytes and there are 1,000 .*; give"):
        task.validation_batches(64)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_selection_windows_are_between_validation_windows(poem: Path, count: int) -> None:
    task = text(poem)
    chosen = task.selection_batches(count)
    assert [batch.tokens.shape for batch in chosen] == [(4, 16)] * count
    starts = [
        [POEM.index(window) for batch in part for window in sequences(batch)]
        for part in (chosen, task.validation_batches())
    ]
    taken = [{byte for start in part for byte in range(start, start + 17)} for part in starts]
    assert not taken[0] & taken[1]
    assert min(taken[0]) >= 9000, "the last tenth validates"
    assert max(taken[0]) > 9800 or count == 1, "spread over all of it"


def test_selection_batches_of_a_text_with_one_window(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(POEM[:200])
    (batch,) = text(path).selection_batches(1)
    assert batch.tokens.shape == (4, 16)


def test_longer_selection_windows_are_fewer(poem: Path) -> None:
    assert [batch.tokens.shape for batch in text(poem).selection_batches(2, 2)] == [(2, 32)] * 2


def test_chance_is_the_entropy_of_the_bytes_of_validation(tmp_path: Path) -> None:
    (tmp_path / "four.txt").write_bytes(b"abcd" * 200)
    assert text(tmp_path).chance() == pytest.approx(2.0)
