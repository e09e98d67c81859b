"""The task of tokens: its windows and their order, parts, documents, quality, and what it refuses."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.batch import IGNORE, Batch, Task, byte_lengths_of
from nas.data.shards.vocabulary import token_texts, vocabulary_of
from nas.data.tokens import Tokens
from nas.distributed import collectives
from nas.distributed.launch import Launch
from nas.errors import UserError
from nas.training.batches import TrainingStream
from tests.nas.data.shards.foreign import write_megatron, write_nanogpt
from tests.nas.data.shards.written import train_tokenizer, with_begin, write_folder

LENGTH = 16


def tokens(path: Path | None, **options: object) -> Tokens:
    given = {
        "path": None if path is None else str(path),
        "mix": None,
        "documents": "joined",
        "tokenizer": None,
        "end": None,
        "begin": True,
        "vocab_size": None,
        "length": LENGTH,
        "batch_size": 4,
        "validation_batches": 3,
        "seed": 0,
    }
    return Tokens(**(given | options))  # type: ignore[arg-type]


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Shards of nanoGPT in which each token is its own place: 0 to 999 to train on, and 1000 to 1999 held out."""
    write_nanogpt(tmp_path / "counted" / "train.bin", range(1000))
    write_nanogpt(tmp_path / "counted" / "val.bin", range(1000, 2000))
    return tmp_path / "counted"


def counting(path: Path, **options: object) -> Tokens:
    return tokens(path, vocab_size=2000, **options)


def starts(*batches: Batch) -> list[int]:
    return [start for batch in batches for start in batch.tokens[:, 0].tolist()]


def test_longer_windows_have_an_order_of_their_own(counted: Path) -> None:
    task = counting(counted)
    batches = [task.longer_batch(step, 4, "all") for step in range(14)]
    assert all(batch.tokens.shape == (1, 4 * LENGTH) for batch in batches)
    assert all(torch.equal(batch.targets[:, :-1], batch.tokens[:, 1:]) for batch in batches)
    first = starts(*batches)
    assert len(set(first)) == 14, "disjoint in an epoch"
    assert all(abs(one - other) % (4 * LENGTH) == 0 for one, other in itertools.pairwise(first))
    assert sorted(first) != first


def test_it_is_a_task_whose_vocabulary_is_that_of_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[b"some text"] * 9], "validation": [[b"ab", b"abba"] * 9]})
    task: Task = tokens(tmp_path)
    assert (task.name, task.vocab_size, task.quality) == ("tokens", 257, "bits_per_byte")
    assert (lengths := byte_lengths_of(task)) is not None
    assert lengths.tolist() == [1] * 256 + [0]
    assert token_texts(task, [*b"a \n", 256]) == ["a", "·", "↵", "<|endoftext|>"]
    assert [task.token_text(token) for token in (97, 256)] == ["a", "<|endoftext|>"]
    assert vocabulary_of(task) is task.vocabulary  # type: ignore[attr-defined]
    batch = task.train_batch(0)
    assert batch.tokens.shape == batch.targets.shape == (4, LENGTH)
    assert batch.tokens.dtype == batch.targets.dtype == torch.int64
    assert batch.planted is None
    assert batch.documents is None
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    assert torch.equal(task.full_batch(3).tokens, task.train_batch(3).tokens)


def test_an_epoch_has_each_window_once_in_another_order(counted: Path) -> None:
    task = counting(counted)
    windows = (1000 - LENGTH) // LENGTH
    every = starts(*(task.train_batch(step) for step in range(100)))
    epochs = [every[first : first + windows] for first in range(0, 400 - windows, windows)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(min(epoch), max(epoch) + 1, LENGTH)), "neither gap nor overlap"
        assert epoch != sorted(epoch)
    assert len({min(epoch) for epoch in epochs}) > 2, "each epoch has its own offset"
    assert max(every) + LENGTH < 1000


def test_a_batch_depends_on_seed_step_and_part_alone(counted: Path) -> None:
    task, other = counting(counted), counting(counted)
    for step in range(5):
        task.train_batch(step)
    assert torch.equal(task.train_batch(7).tokens, other.train_batch(7).tokens)
    assert starts(task.train_batch(7)) != starts(counting(counted, seed=1).train_batch(7))
    parts = [set(starts(*(task.train_batch(step, part) for step in range(60)))) for part in ("weights", "choices")]
    assert max(parts[0]) + LENGTH < min(parts[1])
    assert max(parts[0]) + LENGTH < 800 <= min(parts[1])


@pytest.mark.parametrize("worlds", [(1, 1), (2, 4), (4, 1)], ids=str)
def test_a_training_resumes_over_another_number_of_processes(
    counted: Path, monkeypatch: pytest.MonkeyPatch, worlds: tuple[int, int]
) -> None:
    """Steps 0 to 2 are trained by one number of processes, steps 3 and 4 by another one, from the files anew."""
    expected = [counting(counted).train_batch(step).tokens for step in range(5)]
    found = []
    for world, first, last in ((worlds[0], 0, 3), (worlds[1], 3, 5)):
        rows = []
        for rank in range(world):
            monkeypatch.setattr(collectives, "launched", lambda rank=rank, world=world: Launch("torchrun", rank, world))
            rows.append([scored.tokens for scored in TrainingStream(counting(counted), first, last)])
        found += [torch.cat(step) for step in zip(*rows, strict=True)]
    assert all(torch.equal(step, batch) for step, batch in zip(found, expected, strict=True))


def test_held_out_windows_are_apart_at_every_length(counted: Path) -> None:
    task = counting(counted)
    found = [
        (start, LENGTH * factor, chosen)
        for factor in (1, 2, 4)
        for chosen in (False, True)
        for start in starts(*(task.selection_batches(2, factor) if chosen else task.validation_batches(factor)))
    ]
    validation, selection = ([one for one in found if one[2] == chosen] for chosen in (False, True))
    assert max(start + length for start, length, _ in validation) < min(start for start, *_ in selection)
    assert min(start for start, *_ in validation) == 1000
    assert max(start + length for start, length, _ in selection) == 1999
    for factor in (1, 2, 4):
        own = sorted(start for start, length, _ in validation if length == LENGTH * factor)
        assert all(after - before >= LENGTH * factor for before, after in itertools.pairwise(own))
    assert [tuple(batch.tokens.shape) for batch in task.validation_batches(2)] == [(2, 2 * LENGTH)] * 3
    assert [tuple(batch.tokens.shape) for batch in task.validation_batches(32)] == [(1, 32 * LENGTH)]
    assert [tuple(batch.tokens.shape) for batch in task.selection_batches(5)] == [(4, LENGTH)] * 5


def test_windows_that_fill_no_batch_are_left_out_evenly(tmp_path: Path) -> None:
    write_nanogpt(tmp_path / "nano" / "train.bin", range(1000))
    write_nanogpt(tmp_path / "nano" / "val.bin", range(270))  # 180 for validation: 11 windows, of which 8 fill batches
    own = starts(*counting(tmp_path / "nano").validation_batches())
    assert (len(own), own[0], own[-1]) == (8, 0, 180 - LENGTH - 1)
    assert {after - before for before, after in itertools.pairwise(own)} <= {16, 17, 32, 33}


@pytest.mark.parametrize("documents", ["joined", "packed"])
def test_what_is_longer_than_the_corpus_is_padded(tmp_path: Path, documents: str) -> None:
    write_folder(tmp_path, {"train": [[b"abcd"]], "validation": [[b"efg"], [b"h"]]})
    task = tokens(tmp_path, documents=documents)
    batch = task.train_batch(0)
    assert batch.tokens[0].tolist() == [*b"abcd", 256, *[0] * 11]
    assert batch.targets[0].tolist() == [*b"bcd", 256, *[IGNORE] * 12]
    (validation,) = task.validation_batches(2)
    assert validation.targets[validation.targets != IGNORE].tolist() == [*b"fg", 256]
    if documents == "packed":
        assert batch.documents is not None
        assert batch.documents[0].tolist() == [0] * 5 + [1] * 11


def test_packed_documents_are_numbered_and_not_predicted_from_each_other(tmp_path: Path) -> None:
    every = [b"one", b"two", b"", b"a longer document than the others", b"x"] * 3
    write_folder(tmp_path, {"train": [every[:8], every[8:]], "validation": [[b"four"] * 20]})
    task, joined = tokens(tmp_path, documents="packed"), tokens(tmp_path)
    for step in range(6):
        batch, plain = task.train_batch(step), joined.train_batch(step)
        assert batch.documents is not None
        assert batch.documents.dtype == torch.int32
        assert torch.equal(batch.tokens, plain.tokens)
        assert (batch.documents[:, 0] == 0).all()
        ends = batch.tokens == 256
        assert torch.equal(batch.documents.diff(), ends[:, :-1].int())
        assert torch.equal(batch.targets, plain.targets.masked_fill(ends, IGNORE))
    assert all(batch.documents is not None for batch in task.validation_batches() + task.selection_batches(1))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder of the documents a, bc and def, again and again, whose tokenizer puts <bos> before a text."""
    tokenizer = with_begin(train_tokenizer(tmp_path / "tokenizer.json", size=258))  # without merges
    every = [b"a", b"bc", b"def"] * 40
    write_folder(tmp_path / "folder", {"train": [every], "validation": [every]}, tokenizer)
    return tmp_path / "folder"


def test_sequences_begin_with_the_begin_token(begun: Path) -> None:
    task, plain = tokens(begun), tokens(begun, begin=False)
    assert task.vocabulary is not None
    text = "".join(task.vocabulary.texts(task.parts[0].all.tokens(0, 99).tolist()))
    for batch in (task.train_batch(3), *task.validation_batches(2), *task.selection_batches(1)):
        assert (batch.tokens[:, 0] == task.vocabulary.begin).all()
        assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
        assert task.vocabulary.begin not in batch.targets
        for row in batch.targets.tolist():
            assert "".join(task.vocabulary.texts(row)) in text
    assert plain.vocabulary is not None
    assert plain.vocabulary.begin is None
    assert task.vocabulary.begin not in plain.train_batch(3).tokens


def test_packed_documents_begin_with_it_each(begun: Path) -> None:
    task = tokens(begun, documents="packed")
    batch = task.validation_batches()[0]
    assert batch.documents is not None
    assert task.vocabulary is not None
    shown = "".join(task.vocabulary.texts(batch.tokens[0].tolist()))
    assert shown == "<bos>a<|endoftext|><bos>bc<|endoftext|><bos>def<|endoftext|><bos>a<|endoftext|><bos>"
    assert batch.documents[0].tolist() == [0] * 3 + [1] * 4 + [2] * 5 + [3] * 3 + [4]
    begins = batch.tokens == task.vocabulary.begin
    assert torch.equal(batch.documents.diff(), begins[:, 1:].int())
    assert not (batch.targets == task.vocabulary.begin).any(), "nothing in a document tells that it begins"
    assert (batch.targets[begins] != IGNORE).all()


@pytest.mark.parametrize("documents", ["joined", "packed"])
def test_a_corpus_shorter_than_a_sequence_keeps_its_last_token(tmp_path: Path, documents: str) -> None:
    tokenizer = with_begin(train_tokenizer(tmp_path / "tokenizer.json", size=258))  # without merges
    every = [b"ab", b"c"]
    write_folder(tmp_path / "folder", {"train": [every], "validation": [every]}, tokenizer)
    task = tokens(tmp_path / "folder", documents=documents)
    assert task.vocabulary is not None
    between = ["<bos>"] if documents == "packed" else []
    shown = ["<bos>", "a", "b", "<|endoftext|>", *between, "c", "<|endoftext|>"]
    for batch in (task.train_batch(0), *task.validation_batches()):
        assert task.vocabulary.texts(batch.tokens[0, : len(shown)].tolist()) == shown
        predicted = batch.targets[0][batch.targets[0] != IGNORE].tolist()
        assert task.vocabulary.texts(predicted) == [text for text in shown if text != "<bos>"]


def read(batch: Batch) -> list[list[int]]:
    """The tokens of each window, up to the last one that is predicted."""
    windows = torch.cat([batch.tokens, batch.targets[:, -1:]], dim=1).tolist()
    ends = [int((row != IGNORE).nonzero().max()) for row in batch.targets]
    return [row[: end + 2] for row, end in zip(windows, ends, strict=True)]


@pytest.mark.parametrize("documents", ["joined", "packed"])
@pytest.mark.parametrize("begin", [False, True], ids=["plain", "begin"])
@pytest.mark.parametrize("count", [9, 12, 15, 40])
def test_every_part_is_read_to_its_end(tmp_path: Path, documents: str, begin: bool, count: int) -> None:
    """Each byte is there once, so that a token says its place."""
    tokenizer = with_begin(train_tokenizer(tmp_path / "tokenizer.json", size=258))  # without merges
    every = [bytes(range(5 * number, 5 * number + 1 + number % 5)) for number in range(count)]
    write_folder(tmp_path / "folder", {"train": [every], "validation": [every]}, tokenizer)
    task = tokens(tmp_path / "folder", documents=documents, begin=begin, validation_batches=9, batch_size=1)
    (parts,) = task.parts
    trained = {token for step in range(200) for row in read(task.train_batch(step)) for token in row}
    assert trained >= {*parts.all.tokens(0, len(parts.all)).tolist()}
    held_out = [(parts.selection, task.selection_batches(3))]
    if len(parts.validation) > 2 * LENGTH:  # two windows
        held_out.append((parts.validation, task.validation_batches()))
    for span, batches in held_out:
        end = span.tokens(len(span) - 2, len(span)).tolist()
        assert any(row[-2:] == end for batch in batches for row in read(batch))


def test_documents_are_packed_by_an_end_token_or_an_index(tmp_path: Path) -> None:
    nano = write_nanogpt(tmp_path / "nano.bin", [1, 2, 9] * 40)
    megatron = write_megatron(tmp_path / "mega", [[[1, 2], [9]]] * 40)
    found = [tokens(path, documents="packed", vocab_size=10, end=9) for path in (nano, megatron)]
    for batches in zip(*(task.validation_batches() for task in found), strict=True):
        assert batches[0].documents is not None
        assert torch.equal(batches[0].documents, batches[1].documents)
    with pytest.raises(UserError, match=r"packed needs the ends of documents, which .* does not say; give data.end=ID"):
        tokens(nano, documents="packed", vocab_size=10)


def test_corpora_are_mixed_by_weight(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for letter, folder in zip((b"a", b"b"), folders, strict=True):
        write_folder(folder, {"train": [[letter * 99]], "validation": [[letter * 299]]})
    task = tokens(None, mix={str(folders[0]): 3, str(folders[1]): 1}, batch_size=2)
    rows = [
        {chr(token) for token in row if token < 256}
        for step in range(8)
        for row in task.train_batch(step).tokens.tolist()
    ]
    assert sorted(map("".join, rows)) == ["a"] * 12 + ["b"] * 4
    letters = torch.cat([batch.tokens[:, 0] for batch in task.validation_batches()])
    assert letters.bincount()[[97, 98]].tolist() == [5, 1]
    one = {f"{folders[0]}": 1.0}
    assert torch.equal(tokens(None, mix=one).train_batch(3).tokens, tokens(folders[0]).train_batch(3).tokens)


def test_chance_is_the_entropy_of_the_tokens_over_their_bytes(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(tmp_path / "tokenizer.json")
    folder = tmp_path / "tokens"
    write_folder(folder, {"train": [[b"x" * 30]], "validation": [["Größe".encode()] * 50]}, tokenizer)
    task = tokens(folder)
    assert task.vocabulary is not None
    kinds = len(task.vocabulary.encode("Größe".encode())) + 1  # with the end token, all equally frequent
    assert task.chance() == pytest.approx(math.log2(kinds) * kinds / 7, rel=0.05)
    nano = write_nanogpt(tmp_path / "nano.bin", [1, 2, 3, 4] * 200)
    unknown = tokens(nano, vocab_size=5)
    assert unknown.quality == "bits_per_token"
    assert byte_lengths_of(unknown) is None
    assert unknown.chance() == pytest.approx(2.0, abs=0.01)
    assert token_texts(unknown, [3]) == ["3"]
    assert vocabulary_of(unknown) is None


def test_a_corpus_larger_than_memory_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.touch()
    os.truncate(path, 2**40)  # without blocks on the disk
    task = tokens(path, vocab_size=2)
    assert task.train_batch(10**6).tokens.shape == (4, LENGTH)
    assert len(task.validation_batches()) == 3


def test_an_unknown_treatment_of_documents_is_refused(counted: Path) -> None:
    with pytest.raises(UserError, match=r"data.documents=pack is unknown; choose one of: joined, packed."):
        counting(counted, documents="pack")


def test_a_token_outside_the_vocabulary_is_refused_when_it_is_read(tmp_path: Path) -> None:
    values = np.ones(2**20, dtype=np.uint16)
    values[452_450] = 7  # between the pieces that are checked at the start, in a window of each epoch
    task = tokens(write_nanogpt(tmp_path / "train.bin", values.tolist()), vocab_size=5, length=8000)
    with pytest.raises(UserError, match=r"train.bin has the token id 7, but the vocabulary has the ids 0 to 4"):
        list(map(task.train_batch, range(40)))
