"""Held-out documents of a run's data, of files and of folders of tokens."""

from pathlib import Path

import pytest

from nas.data.mqar import MQAR
from nas.data.shards.vocabulary import Vocabulary, vocabulary_of
from nas.data.text import Text
from nas.data.tokens import Tokens
from nas.errors import UserError
from nas.suites.documents import Documents, held_out, of_path, standard_library, training
from tests.nas.data.shards.written import write_folder

BYTES = Vocabulary.of_bytes()


def text(path: Path) -> Text:
    return Text(str(path), 4, 2, 1, 0)


def held(documents: Documents | None) -> dict[str, bytes]:
    assert documents is not None
    return {one.name: one.text() for one in documents.every}


def test_the_held_out_part_of_a_text_is_a_document_by_file(tmp_path: Path) -> None:
    for index in range(40):
        (tmp_path / f"file{index:02}").write_bytes(bytes([index]).hex().encode() * 20)
    task = text(tmp_path)
    found = held(held_out(task, BYTES, None, "text"))
    assert 2 <= len(found) < 10
    assert all((tmp_path / name).read_bytes() == content for name, content in found.items())
    assert b"".join(found.values()) == bytes(task.corpus.validation(4).tolist())
    trained = b"".join(bytes(part.tolist()) for part in training(task, 10**6))
    assert len(trained) + sum(map(len, found.values())) == 40 * 40
    assert sum(map(len, training(task, 100))) == 100


def test_the_last_tenth_of_few_files_is_cut_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 195)
    (tmp_path / "b").write_bytes(b"b" * 5)
    assert held(held_out(text(tmp_path), BYTES, None, "text")) == {"a": b"a" * 15, "b": b"b" * 5}


def test_tokens_are_read_as_they_are_and_decoded_as_text(tmp_path: Path) -> None:
    write_folder(
        tmp_path / "tokens", {"train": [[b"train" * 9]], "validation": [[b"one", b"two"], [b"three", b"four"]]}
    )
    task = Tokens(
        path=str(tmp_path / "tokens"), mix={}, documents="joined", tokenizer=None, end=None, begin=True,
        vocab_size=None, length=4, batch_size=2, validation_batches=1, seed=0,
    )  # fmt: skip
    assert vocabulary_of(task) is task.vocabulary is not None
    documents = held_out(task, task.vocabulary, None, "text")
    assert documents is not None
    assert [bytes(one.text()) for one in documents.every] == [b"one", b"two", b"three"]
    assert [documents.tokens(one).tolist() for one in documents.every][1] == [*b"two", 256]
    assert b"".join(bytes(part[:45].tolist()) for part in training(task, 45)) == b"train" * 9
    others = held_out(task, task.vocabulary, str(tmp_path / "tokens"), "text")
    assert others is not None
    assert [bytes(one.text()) for one in others.every] == [b"one", b"two", b"three", b"four"]
    assert others.tokens(others.every[1]).tolist() == [*b"two", 256]
    write_folder(tmp_path / "held_out", {"validation": [[b"five", b"six"]]})
    assert list(held(held_out(task, task.vocabulary, str(tmp_path / "held_out"), "text")).values()) == [b"six"]


def test_files_and_rows_of_a_path_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "empty").write_text("")
    (tmp_path / "binary").write_bytes(b"a\0b")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "rows.jsonl").write_text('{"body": "one"}\n{"body": "two"}\n')
    task = MQAR(
        vocab_size=64,
        length=64,
        pairs=4,
        settings=[[64, 4, 1]],
        power_a=0.1,
        random_non_queries=False,
        batch_size=1,
        validation_batches=1,
        seed=0,
    )
    documents = held_out(task, BYTES, str(tmp_path), "body")
    assert documents is not None
    assert [one.text() for one in documents.every] == [b"text", b"caf\xe9", b"one", b"two"]
    assert documents.end is None
    assert vocabulary_of(task) is None
    assert held_out(task, BYTES, None, "body") is None
    assert list(training(task, 10)) == []
    with pytest.raises(UserError, match=r"suites.column=text is not a text in line 1 of \S+rows.jsonl"):
        held_out(task, BYTES, str(tmp_path), "text")
    with pytest.raises(UserError, match=r"suites.path=\S+: no such file, .*; give a file or folder of text"):
        held_out(task, BYTES, str(tmp_path / "none"), "body")
    with pytest.raises(UserError, match=r"suites.path=\S+ holds no text"):
        held_out(task, BYTES, str(tmp_path / "empty"), "body")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_rows_are_the_bytes_that_preparing_reads(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        path.write_bytes(b'{"text": "a\\ud800"}\n{"text": "b\xff"}\n')
        expected = [b"a\xed\xa0\x80", b"b\xff"]
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"text": ["a", None, "三"]}), path)
        expected = [b"a", "三".encode()]
    assert [one.text() for one in of_path("suites.path", str(path), "text")] == expected


def test_the_standard_library_is_python_source() -> None:
    documents = standard_library(text(Path(__file__)), BYTES, "suites.identifiers.path")
    assert len(documents.every) > 50
    assert all(one.name.endswith(".py") for one in documents.every)
