"""A corpus: the files it reads, their split, and the errors it raises."""

import os
from pathlib import Path

import pytest
import torch

from tests.nas.data.texts import POEM, refusal, sequences, text, validation_files


def test_the_last_tenth_of_one_file_validates(poem: Path) -> None:
    windows = [window for batch in text(poem).validation_batches() for window in sequences(batch)]
    assert len(windows) == 12
    assert all(window in POEM[9000:] for window in windows)


def test_a_folder_is_split_by_file(folder: Path) -> None:
    task = text(folder, length=19, batch_size=100, validation_batches=20)
    validation = validation_files(task)
    assert 5 <= len(validation) <= 20
    trained = {byte for step in range(30) for byte in task.train_batch(step).tokens.flatten().tolist()}
    assert trained == set(range(1, 101)) - validation


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


def test_pipes_in_a_folder_are_skipped(folder: Path) -> None:
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

    monkeypatch.setattr("nas.data.files.open", refuse, raising=False)
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


def test_a_path_to_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
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
