"""Corpora of tokens: which format a path has, their parts, and what is refused."""

import json
from pathlib import Path

import pytest

from nas.data.shards.folder import RECORD
from nas.data.shards.opening import Tokenised, largest, open_tokens
from nas.data.shards.vocabulary import END
from nas.errors import UserError
from tests.nas.data.shards.foreign import write_megatron, write_nanogpt
from tests.nas.data.shards.written import train_tokenizer, write_folder

TOKENS = [token for document in range(20) for token in (*range(document % 5 + 1), 9)]


def opened(path: Path, tokenizer: str | None = None, end: int | None = None) -> Tokenised:
    return open_tokens("data.path", str(path), tokenizer, end)


def test_a_folder_of_prepare(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[b"one", b"two"], [b"three"]], "validation": [[b"four"]]})
    corpus = opened(tmp_path)
    assert corpus.vocabulary is not None
    assert corpus.vocabulary.decode(corpus.training.tokens(0, 99).tolist()) == b"onetwothree"
    assert corpus.training.begins(0, 14).nonzero()[0].tolist() == [0, 4, 8]
    assert corpus.validation.tokens(0, 9).tolist() == [*b"four", 256]
    assert set(corpus.files) == {RECORD, "train-00000.bin", "train-00001.bin", "validation-00000.bin"}


def test_without_validation_the_last_documents_are_held_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[b"ab"] * 15]})
    corpus = opened(tmp_path)
    assert (len(corpus.training), len(corpus.validation)) == (42, 3), "cut where a document begins"


def test_a_folder_may_be_for_validation_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, {"validation": [[b"ab"] * 5]})
    corpus = opened(tmp_path)
    assert (len(corpus.training), len(corpus.validation)) == (0, 15)


@pytest.mark.parametrize("name", ["train.bin", "."])
def test_shards_of_nanogpt(tmp_path: Path, name: str) -> None:
    write_nanogpt(tmp_path / "nano" / "train.bin", TOKENS)
    if name == ".":
        write_nanogpt(tmp_path / "nano" / "val.bin", [5, 9, 6, 9])
    corpus = opened(tmp_path / "nano" / name, end=9)
    assert corpus.vocabulary is None
    held_out = [5, 9, 6, 9] if name == "." else TOKENS[-6:]
    assert corpus.validation.tokens(0, 99).tolist() == held_out
    assert corpus.training.tokens(0, 999).tolist() == (TOKENS if name == "." else TOKENS[:-6])
    assert corpus.training.begins(0, 7).tolist() == [True, False, True, False, False, True, False]
    assert opened(tmp_path / "nano" / name, "bytes").vocabulary is not None


@pytest.mark.parametrize("name", ["text.idx", "text.bin", "text", "."])
def test_shards_of_megatron(tmp_path: Path, name: str) -> None:
    write_megatron(tmp_path / "text", [[[1, 2]], [[3]], [[4], [5]]])
    corpus = opened(tmp_path / name)
    assert corpus.training.tokens(0, 9).tolist() == [1, 2, 3]
    assert corpus.training.begins(0, 3).tolist() == [True, False, True]
    assert corpus.validation.tokens(0, 9).tolist() == [4, 5]
    assert set(corpus.files) == {"text.idx", "text.bin"}


def test_files_for_validation_are_told_by_their_names(tmp_path: Path) -> None:
    for name in ("interval_document", "text_valid_document", "text_document", "values_document"):
        write_megatron(tmp_path / name, [[[1, 2]], [[3]]])
    corpus = opened(tmp_path)
    assert [shard.path.stem for shard in corpus.validation.shards] == ["text_valid_document"]
    assert len(corpus.training) == 9


def test_a_hash_of_pieces_tells_that_a_file_has_changed(tmp_path: Path) -> None:
    path = write_nanogpt(tmp_path / "train.bin", [1] * 400_000)
    before = opened(path).files
    assert opened(path).files == before
    with path.open("r+b") as file:
        file.seek(-2, 2)
        file.write(b"\x02")
    assert opened(path).files != before


def test_the_largest_token_and_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    write_nanogpt(folder / "train_1.bin", [1] * 9000 + [7])
    path = write_nanogpt(folder / "train_2.bin", [2, 60_000, 3])
    assert largest(opened(folder).training) == (60_000, path)
    negative = write_megatron(tmp_path / "text", [[[1, -2, 50]], [[3] * 9]])
    assert largest(opened(negative).training) == (-2, negative.with_suffix(".bin"))


def refusal(path: Path | str, tokenizer: str | None = None, end: int | None = None) -> str:
    with pytest.raises(UserError) as caught:
        open_tokens("data.path", str(path), tokenizer, end)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_no_corpus_of_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "odd.bin").write_bytes(bytes(3))
    (tmp_path / "empty.bin").touch()
    assert "has neither tokens.json, as nas.prepare leaves it, nor files" in refusal(write_empty(tmp_path / "none"))
    assert "it is no .bin or .idx" in refusal(tmp_path / "text.txt")
    assert "there is no such folder or file" in refusal(tmp_path / "nowhere")
    assert "odd.bin has 3 bytes, an odd number: it is cut off" in refusal(tmp_path / "odd.bin")
    assert "empty.bin is empty" in refusal(tmp_path / "empty.bin")
    write_nanogpt(tmp_path / "val" / "val_1.bin", [1, 2])
    write_nanogpt(tmp_path / "val" / "val_2.bin", [1, 2])
    assert "has files for validation alone" in refusal(tmp_path / "val")
    assert "there is no such file; give a tokenizer.json, or bytes" in refusal(tmp_path / "val", "nowhere.json")
    other = tmp_path / "other.json"
    other.write_text(train_tokenizer(tmp_path / "own.json").read_text().replace(END, "<other>"))
    assert "which is to end documents; give data.end=ID of a token" in refusal(tmp_path / "val", str(other))


def write_empty(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_folder_of_prepare_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    write_folder(folder, {"train": [[b"one", b"two"]]}, train_tokenizer(tmp_path / "own.json"))
    assert opened(folder, str(folder / "tokenizer.json")).tokenizer is not None
    assert "has its own; leave data.tokenizer out" in refusal(folder, "bytes")
    assert "data.tokenizer=nowhere.json: there is no such file" in refusal(folder, "nowhere.json")
    assert "data.end=7 is not the end token of data.path=" in refusal(folder, end=7)
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {"vocab_size": 4000}))
    assert "has 4000 token ids, but its tokenizer" in refusal(folder)
    (folder / RECORD).write_text(json.dumps(record | {"shards": []}))
    assert "is empty: it has no tokens" in refusal(folder)
    (folder / RECORD).write_text(json.dumps(record))
    shard = folder / "train-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    assert "cut off" in refusal(folder)


def test_a_folder_that_is_not_complete_is_read_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, {"train": [[b"one", b"two"]]})
    record = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(record | {"complete": False}))
    opened(tmp_path)
    assert "nas.prepare has not ended" in capsys.readouterr().err
