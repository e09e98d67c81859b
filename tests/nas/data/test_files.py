"""The files of a text: which are read, and in which encodings and formats."""

import gzip
import json
import random
import sys
from pathlib import Path

import pytest

from nas.data.files import list_files, read_text
from nas.errors import UserError

VERSE = "Grüße aus Köln.\n你好世界\n"
ROWS = ["Über den Wolken", "two\nlines", "三"]
JOINED = "".join(f"{row}\n" for row in ROWS).encode()


def read(path: Path, column: str = "text") -> bytes:
    return b"".join(read_text(path, column))


def refusal(path: Path, column: str = "text") -> str:
    with pytest.raises(UserError) as caught:
        read(path, column)
    message = str(caught.value)
    assert str(path) in message
    assert message.startswith("data.")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides_the_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "verse.txt"
    path.write_text(VERSE, encoding=encoding, newline="")
    assert read(path) == VERSE.encode()


def test_a_mark_of_big_endian_is_honoured(tmp_path: Path) -> None:
    for name, mark in (("utf-16-be", b"\xfe\xff"), ("utf-32-be", b"\0\0\xfe\xff")):
        (tmp_path / name).write_bytes(mark + VERSE.encode(name))
        assert read(tmp_path / name) == VERSE.encode()


def test_characters_may_lie_across_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.data.files.BLOCK", 5)
    (tmp_path / "verse").write_text(VERSE, encoding="utf-8", newline="")
    assert read(tmp_path / "verse") == VERSE.encode()


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(VERSE.encode()),
        random.Random(0).randbytes(5000),
        b"text, then\0zero",
        "Grüße".encode("latin-1"),
        "cut in the middle: ü".encode()[:-1],
        "\ufeffodd".encode("utf-16-le")[:-1],
    ],
    ids=["gzip", "random", "zero", "latin-1", "cut", "cut UTF-16"],
)
def test_a_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    assert "is not text" in refusal(path)


def test_hidden_files_and_version_control_are_left_out(tmp_path: Path) -> None:
    for name in (".git/config", ".hidden", "src/.cache/x", "CVS/Root", "src/__pycache__/a.pyc", "src/a.txt", "b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert [file.name for file in list_files(str(tmp_path))] == ["b.txt", "src/a.txt"]
    assert [file.name for file in list_files(str(tmp_path / ".hidden"))] == [".hidden"]


def test_json_lines_are_read_by_a_column(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"id": number, "story": row}, ensure_ascii=number > 0) for number, row in enumerate(ROWS)]
    path.write_text("\n\n".join(lines), encoding="utf-8")
    assert read(path, "story") == JOINED
    assert "its columns are id, story" in refusal(path)
    assert "data.column=id is not a text in line 1" in refusal(path, "id")


@pytest.mark.parametrize(("line", "reason"), [("{'a': 1}", "line 2 is not JSON"), ("[1]", "it is no object")])
def test_lines_that_are_not_json_objects_are_refused(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_text(f'{{"text": "a"}}\n{line}\n', encoding="utf-8")
    assert reason in refusal(path)


def test_half_a_surrogate_pair_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "\\ud800"}', encoding="utf-8")
    assert "surrogate" in refusal(tmp_path / "rows.jsonl")


def test_parquet_is_read_by_a_column(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"id": [1, 2, 3, 4], "text": [*ROWS, None]}), path)
    assert read(path) == JOINED
    assert "its columns are id (int64), text (string)" in refusal(path, "story")
    assert "data.column=id is not a column of text" in refusal(path, "id")
    for kind in (pyarrow.large_string(), pyarrow.string_view()):
        parquet.write_table(pyarrow.table({"text": pyarrow.array([*ROWS, None], kind)}), path)
        assert read(path) == JOINED
    path.write_bytes(path.read_bytes()[:-9])
    assert "is not Parquet" in refusal(path)


def test_parquet_without_its_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    assert "install nas-hybrid-attention[parquet]" in refusal(tmp_path / "rows.parquet")
