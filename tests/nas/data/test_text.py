"""The text task: what it reads, how it splits, what it draws, and how it refuses."""

import itertools
import os
from pathlib import Path

import pytest
import torch

from nas.data.batch import Batch, Task
from nas.data.text import Text
from nas.errors import UserError

POEM = b"".join(b"line %04d\n" % line for line in range(1000))  # 10,000 bytes, no two lines alike


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_bytes(POEM)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """100 files of 200 bytes, each one byte repeated, so that a byte tells its file."""
    root = tmp_path / "folder"
    for index in range(100):
        path = root / f"part{index % 7}" / f"{index:02d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([index]) * 200)
    return root


def text(path: Path | str | None, length: int = 16, batch_size: int = 4, seed: int = 0, **options: int) -> Text:
    options = {"validation_batches": 3} | options
    return Text(None if path is None else str(path), length, batch_size, seed=seed, **options)


def sequences(batch: Batch) -> list[bytes]:
    """Each sequence with its last target: the window of length + 1 bytes."""
    return [bytes(t.tolist() + y[-1:].tolist()) for t, y in zip(batch.tokens, batch.targets, strict=True)]


def validation_files(task: Text) -> set[int]:
    return {byte for batch in task.validation_batches() for byte in batch.tokens.flatten().tolist()}


def refusal(path: Path | str, **options: int) -> str:
    with pytest.raises(UserError) as caught:
        text(path, **options)
    message = str(caught.value)
    assert message.startswith("data.")
    assert message.endswith(".")
    assert "; give" in message
    return message


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
    (tmp_path / "short").write_bytes(bytes(range(100)))
    task = text(tmp_path / "short", length=9, batch_size=2000)
    batch = task.train_batch(0)
    assert batch.tokens.unique().tolist() == list(range(89))
    assert batch.targets.unique().tolist() == list(range(1, 90))


def test_the_last_tenth_of_one_file_validates(poem: Path) -> None:
    windows = [window for batch in text(poem).validation_batches() for window in sequences(batch)]
    assert len(windows) == 12
    assert all(window in POEM[9000:] for window in windows)


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


def test_a_folder_is_split_by_file(folder: Path) -> None:
    task = text(folder, length=19, batch_size=100, validation_batches=20)
    validation = validation_files(task)
    assert 5 <= len(validation) <= 20
    trained = {byte for step in range(30) for byte in task.train_batch(step).tokens.flatten().tolist()}
    assert trained == set(range(100)) - validation


def test_the_split_depends_on_paths_inside_the_folder_alone(folder: Path) -> None:
    before = validation_files(text(folder, seed=0, batch_size=50))
    moved = folder.rename(folder.parent / "elsewhere")
    assert validation_files(text(moved, seed=1, batch_size=50)) == before


@pytest.mark.parametrize("names", [["a", "b"], ["0", "1", "2", "3"]])
def test_files_that_cannot_be_split_evenly_are_split_by_position(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 1000)
    assert validation_files(text(tmp_path)) == {ord(names[-1])}


def test_the_default_is_the_standard_library() -> None:
    task = text(None, length=400, validation_batches=30)
    source = b"".join(window for batch in task.validation_batches() for window in sequences(batch))
    assert b"self" in source
    assert b"import" in source


def test_a_home_folder_is_found(poem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(poem.parent))
    assert torch.equal(text("~/poem.txt").train_batch(0).tokens, text(poem).train_batch(0).tokens)


def test_links_to_folders_are_not_followed_and_links_to_files_are(folder: Path, poem: Path) -> None:
    alone = text(folder)
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "nowhere").symlink_to(folder / "missing")
    assert torch.equal(text(folder).train_batch(0).tokens, alone.train_batch(0).tokens)
    (folder / "linked").symlink_to(poem)
    assert not torch.equal(text(folder).train_batch(0).tokens, alone.train_batch(0).tokens)


def test_pipes_in_a_folder_are_passed_over(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    text(folder)


def test_tokens_are_shown_in_one_readable_place_each(poem: Path) -> None:
    task = text(poem)
    assert [task.token_text(ord(c)) for c in "aZ~!\\ \n\t"] == ["a", "Z", "~", "!", "\\", "·", "↵", "→"]
    assert [task.token_text(token) for token in (0, 13, 127, 255)] == ["\\x00", "\\x0d", "\\x7f", "\\xff"]
    assert len({task.token_text(token) for token in range(256)}) == 256


def test_a_missing_path_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "missing.txt")
    assert "missing.txt" in refusal(tmp_path / "missing.txt")
    assert "no such file" in refusal("")


def test_a_path_below_a_file_is_refused(poem: Path) -> None:
    assert "cannot be read" in refusal(poem / "below")


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    assert "holds no text" in refusal(tmp_path)
    (tmp_path / "empty").touch()
    assert "holds no text" in refusal(tmp_path)
    assert "holds no text" in refusal(tmp_path / "empty")


def test_an_unreadable_file_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("nas.data.corpus.open", refuse, raising=False)
    message = refusal(folder)
    assert "Permission denied" in message
    assert ".txt" in message


def test_an_unreadable_folder_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "part3":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "part3" in refusal(folder)


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert "neither a regular file nor a folder" in refusal(path)


def test_a_text_too_short_for_one_window_is_refused(poem: Path) -> None:
    text(poem, length=999)
    message = refusal(poem, length=1000)
    assert "validation sequence needs 1,001 bytes" in message
    assert "there are 1,000" in message
    assert "training sequence needs 9,001 bytes and there are 9,000" in refusal(poem, length=9000)


def test_a_text_too_large_for_memory_is_refused(poem: Path) -> None:
    text(poem, max_bytes=10_000)
    message = refusal(poem, max_bytes=9999)
    assert "10,000 bytes" in message
    assert "data.max_bytes=9999" in message


@pytest.mark.parametrize("count", [1, 3, 5])
def test_batches_to_choose_by_are_between_those_to_validate_on(poem: Path, count: int) -> None:
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


def test_batches_to_choose_by_from_a_text_that_has_room_for_one_window(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_bytes(POEM[:200])
    (batch,) = text(path).selection_batches(1)
    assert batch.tokens.shape == (4, 16)
