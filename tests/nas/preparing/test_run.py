"""The command: what it makes of every kind of input, how it continues, and what it refuses."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.data.shards.folder import Folder
from nas.data.shards.vocabulary import END
from nas.errors import INTERRUPTED, UserError
from nas.preparing import workers
from nas.preparing.unit import encode_unit
from tests.nas.data.shards.written import train_tokenizer
from tests.nas.disks import small_disk
from tests.nas.preparing.preparing import BPE, BYTES, TEXTS, config, files, prepared, rows, run, texts_of, write


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("corpus") / "corpus", TEXTS)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture(scope="module")
def ready(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete folder of bytes; tests do not change it."""
    return prepared(corpus, tmp_path_factory.mktemp("ready") / "tokens").path


@pytest.mark.parametrize("tokenizer", [BYTES, BPE], ids=["bytes", "bpe"])
def test_every_document_comes_back_in_one_part(tokenizer: Any, corpus: Path, output: Path) -> None:
    folder = prepared(corpus, output, tokenizer=tokenizer)
    assert sorted(texts_of(folder)) == sorted(TEXTS.values())
    assert len(folder.shards) > 4
    assert {len(texts_of(folder, part)) > 0 for part in ("train", "validation")} == {True}
    assert folder.complete
    assert folder.dtype == "uint16"
    assert (folder.input.documents, folder.input.bytes) == (len(TEXTS), sum(map(len, TEXTS.values())))
    assert sum(shard.bytes for shard in folder.shards) == folder.input.bytes
    if tokenizer is BPE:
        assert folder.vocab_size == 300
        assert folder.vocabulary().texts([folder.end]) == [END]


def test_tables_give_the_same_documents_as_files(corpus: Path, output: Path, tmp_path: Path) -> None:
    texts = [text.decode() for text in TEXTS.values()]
    (tmp_path / "rows").mkdir()
    rows(tmp_path / "rows/all.jsonl", texts, "story")
    folder = prepared(tmp_path / "rows/all.jsonl", output, column="story")
    assert sorted(texts_of(folder)) == sorted(TEXTS.values())
    of_files = prepared(corpus, tmp_path / "other", shard_bytes=10**6)
    assert folder.fingerprint == of_files.fingerprint
    assert sorted(texts_of(folder, "validation")) == sorted(texts_of(of_files, "validation"))
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": [*texts, None]}), tmp_path / "rows.parquet", row_group_size=7)
    of_parquet = prepared(tmp_path / "rows.parquet", tmp_path / "third")
    assert of_parquet.fingerprint == folder.fingerprint
    assert len(of_parquet.shards) > 4


def test_a_saved_data_set_is_read(output: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    texts = [text.decode() for text in TEXTS.values()]
    made = datasets.DatasetDict(
        {name: datasets.Dataset.from_dict({"text": some}) for name, some in (("x", texts[:9]), ("y", texts[9:]))}
    )
    made.save_to_disk(str(tmp_path / "set"))
    folder = prepared(tmp_path / "set", output)
    assert sorted(texts_of(folder)) == sorted(TEXTS.values())
    with pytest.raises(UserError, match="column=story is not a column of text"):
        run(config(tmp_path / "set", tmp_path / "other", column="story"))


def test_a_saved_data_set_without_its_package_is_refused(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    write(tmp_path / "set", {"dataset_info.json": b"{}", "data-0.arrow": b"x"})
    with pytest.raises(UserError, match=r"install nas-hybrid-attention\[datasets\]"):
        run(config(tmp_path / "set", output))


def test_workers_make_the_same_shards(corpus: Path, output: Path, tmp_path: Path) -> None:
    prepared(corpus, output, workers=2, tokenizer=BPE)
    assert not list(output.glob(".*"))
    prepared(corpus, tmp_path / "alone", tokenizer=BPE)
    assert files(output) == files(tmp_path / "alone")


def test_patterns_choose_the_files(corpus: Path, output: Path) -> None:
    folder = prepared(corpus, output, include=["a/*", "b/1*"], exclude=["*/1.txt"])
    expected = [text for name, text in TEXTS.items() if name.startswith(("a/", "b/1")) and not name.endswith("/1.txt")]
    assert sorted(texts_of(folder)) == sorted(expected)


def test_copies_of_a_document_are_in_one_part(output: Path, tmp_path: Path) -> None:
    texts = {f"{name}.txt": text for name, text in enumerate(TEXTS.values())}
    copies = {f"copy/{name}": text.replace(b"\n", b"\r\n") + b"\n" for name, text in texts.items()}
    folder = prepared(write(tmp_path / "corpus", texts | copies), output, validation=0.5)
    assert len(texts_of(folder)) == 2 * len(texts)
    parts = [{b" ".join(text.split()) for text in texts_of(folder, part)} for part in ("train", "validation")]
    assert parts[0]
    assert parts[1]
    assert not parts[0] & parts[1]


def test_invalid_bytes_are_kept_and_what_is_no_text_is_left_out(output: Path, tmp_path: Path) -> None:
    texts = {
        "1.txt": b"a \xff\xfe b" * 9,
        "2.txt": b"three \xe4\xb8",
        "3.txt": b"",
        "4.png": b"\x89PNG\0\0",
        "5.txt": b"z",
    }
    status, told = run(config(write(tmp_path / "corpus", texts), output, tokenizer=BPE, validation=0.0))
    assert status == 0
    assert "left out: 1 empty document, 1 file with zero bytes" in told
    assert "kept as they are: 20 bytes not in UTF-8" in told
    folder = Folder.read(output)
    assert texts_of(folder) == [texts["1.txt"], texts["2.txt"], texts["5.txt"]]
    assert folder.input.invalid_bytes == 20


class Killed(BaseException):
    """In place of SIGKILL, which ends a process at once: nothing of the command handles it."""


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> Iterator[None]:
    """Let the unit of a number end in an error after its shards were begun."""

    def fail(*arguments: Any) -> Any:
        return encode_unit(*arguments) if arguments[2] != at else (_ for _ in ()).throw(error)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "encode_unit", fail)
        yield


def test_a_killed_run_continues_with_the_same_command(
    corpus: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with failing(monkeypatch, 4, Killed()), pytest.raises(Killed):
        run(config(corpus, output, tokenizer=BPE))
    part = Folder.read(output)
    assert not part.complete
    assert 0 < len(texts_of(part)) < len(TEXTS)
    (output / ".train-00004.bin.0123.part").write_bytes(b"left behind")
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*-0000[0-3].bin")}
    status, told = run(config(corpus, output, tokenizer=BPE))
    assert status == 0
    assert "4 finished before" in told
    assert before == {name: (output / name).stat().st_mtime_ns for name in before}
    prepared(corpus, tmp_path / "whole", tokenizer=BPE)
    assert files(output) == files(tmp_path / "whole")
    status, told = run(config(corpus, output, tokenizer=BPE))
    assert status == 0
    assert files(output) == files(tmp_path / "whole")


def test_ctrl_c_keeps_finished_units(corpus: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with failing(monkeypatch, 2, KeyboardInterrupt()):
        status, told = run(config(corpus, output))
    assert status == INTERRUPTED
    assert "Stopped: 2 of " in told
    assert len(Folder.read(output).shards) >= 2


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"column": "story"}, "column"),
        ({"include": ["a/*"]}, "input"),
        ({"validation": 0.1}, "validation"),
        ({"shard_bytes": 3000}, "shard_bytes"),
        ({"tokenizer": BPE}, "tokenizer"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_folder_of_other_options_is_refused(changes: dict[str, Any], name: str, corpus: Path, ready: Path) -> None:
    before = files(ready)
    with pytest.raises(UserError, match=f"was begun with another {name}: "):
        run(config(corpus, ready, **changes))
    assert files(ready) == before


def test_a_changed_input_is_refused(output: Path, tmp_path: Path) -> None:
    corpus = write(tmp_path / "corpus", TEXTS)
    prepared(corpus, output)
    os.utime(corpus / "a/3.txt", ns=(1, 1))
    with pytest.raises(UserError, match="was begun with another input: "):
        run(config(corpus, output))


def test_another_given_tokenizer_is_refused(corpus: Path, output: Path, tmp_path: Path) -> None:
    first = BPE.__class__("bpe", path=str(train_tokenizer(tmp_path / "first.json")), vocab_size=300, sample_bytes=1)
    folder = prepared(corpus, output, tokenizer=first)
    assert (output / "tokenizer.json").read_bytes() == (tmp_path / "first.json").read_bytes()
    assert sorted(texts_of(folder)) == sorted(TEXTS.values())
    train_tokenizer(tmp_path / "first.json", 280)
    with pytest.raises(UserError, match="was begun with another tokenizer: "):
        run(config(corpus, output, tokenizer=first))


def test_a_full_disk_keeps_finished_shards(output: Path, tmp_path: Path) -> None:
    texts = {f"{number}.txt": b"x%d " % number * (300 if number < 4 else 9000) for number in range(5)}
    corpus = write(tmp_path / "corpus", texts)
    with small_disk(20_000), pytest.raises(UserError, match=r"cannot be written: .*Finished shards are kept") as caught:
        run(config(corpus, output))
    assert f"output={output}" in str(caught.value)
    assert sorted(texts_of(Folder.read(output))) == sorted(list(texts.values())[:4])
    folder = prepared(corpus, output)
    assert sorted(texts_of(folder)) == sorted(texts.values())


def test_a_document_larger_than_a_block_is_encoded_in_parts(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(f"word{number} größer" for number in range(3000)).encode()
    corpus = write(tmp_path / "corpus", {"large.txt": text})
    whole = prepared(corpus, output, tokenizer=BPE, validation=0.0)
    for name in ("documents.BLOCK", "documents.ENCODED", "unit.HASHED"):
        monkeypatch.setattr(f"nas.preparing.{name}", 700)
    parts = prepared(corpus, tmp_path / "parts", tokenizer=BPE, validation=0.0)
    assert texts_of(parts) == [text]
    assert np.array_equal(whole.tokens(whole.shards[0]), parts.tokens(parts.shards[0]))
    assert whole.fingerprint.input == parts.fingerprint.input


@pytest.mark.parametrize(
    ("texts", "changes", "reason"),
    [
        ({}, {}, "holds no text: no file, or empty ones"),
        ({"a.txt": b""}, {}, "holds no text: no file, or empty ones"),
        ({"a.txt": b"x"}, {"include": ["*.c"]}, r"no file that include=\['\*\.c'\]"),
        ({"a.bin": b"\0"}, {}, "holds no text: 1 file with zero bytes"),
        ({"a.jsonl": b'{"text": null}'}, {}, "holds no text: all rows of its tables are without a text"),
        ({"a.jsonl": b'{"story": "x"}\n'}, {}, "column=text is not a text in line 1 of .*its columns are story"),
        ({"a.jsonl": b"{\n"}, {}, "input has the file .* whose line 1 is not JSON"),
        ({"a.parquet": b"PAR1"}, {}, "input has the file .* not Parquet"),
        ({"a.txt": b"x"}, {"tokenizer": BPE, "validation": 1.0}, "no text of the input to train a tokenizer"),
        ({"a.txt": "\ufeffodd".encode("utf-16-le")[:-1]}, {}, "input has the file .*not UTF-16"),
    ],
    ids=["folder", "empty", "pattern", "binary", "null", "column", "json", "parquet", "validation", "utf-16"],
)
def test_an_input_that_cannot_be_read_is_refused(
    texts: dict[str, bytes], changes: dict[str, Any], reason: str, output: Path, tmp_path: Path
) -> None:
    (tmp_path / "corpus").mkdir()
    with pytest.raises(UserError, match=reason) as caught:
        run(config(write(tmp_path / "corpus", texts), output, **changes))
    assert "\n" not in str(caught.value)


def test_places_that_cannot_be_are_refused(corpus: Path, output: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"input=.*nowhere: there is no"):
        run(config(tmp_path / "nowhere", output))
    with pytest.raises(UserError, match="is inside of input="):
        run(config(corpus, corpus / "tokens"))
    write(output, {"mine.txt": b"x"})
    with pytest.raises(UserError, match=r"has files that nas\.prepare did not write, such as mine\.txt"):
        run(config(corpus, output))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be made"):
        run(config(corpus, tmp_path / "file"))


def test_a_row_that_is_too_long_is_refused(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.data.tables.LONGEST", 50)
    path = rows(tmp_path / "rows.jsonl", ["short", "long" * 20])
    with pytest.raises(UserError, match=r"row at byte 27 has more than 50 bytes"):
        run(config(path, output))


def test_a_wrong_column_is_mended_in_the_same_folder(output: Path, tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", ["one", "two"], "story")
    with pytest.raises(UserError, match="column=text is not a text"):
        run(config(path, output))
    assert sorted(texts_of(prepared(path, output, column="story"))) == [b"one", b"two"]


def test_a_folder_of_bytes_stays_one_beside_a_tokenizer(output: Path, corpus: Path) -> None:
    folder = prepared(corpus, output)
    train_tokenizer(output / "tokenizer.json")
    assert prepared(corpus, output) == folder


def test_a_single_document_leaves_a_part_empty(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(write(tmp_path / "corpus", {"one.txt": b"one"}), output, validation=1e-9)
    assert "warning: no document is for validation" in capsys.readouterr().err


def test_a_tokenizer_that_changes_documents_is_told(
    output: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = train_tokenizer(tmp_path / "nfc.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": {"type": "NFC"}}))
    corpus = write(tmp_path / "corpus", {"1.txt": "e\u0301 x".encode(), "2.txt": "é".encode()})
    nfc = BPE.__class__("bpe", path=str(path), vocab_size=300, sample_bytes=1)
    folder = prepared(corpus, output, tokenizer=nfc, validation=0.0)
    assert "changes 1 document," in capsys.readouterr().err
    assert texts_of(folder) == ["é x".encode(), "é".encode()]
    assert (folder.input.bytes, folder.shards[0].bytes) == (7, 6)
