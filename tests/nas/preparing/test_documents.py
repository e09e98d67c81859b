"""Documents as streams: nothing is lost where a document is cut, and a cut is between words."""

from pathlib import Path
from typing import Any

import pytest

from nas.preparing import documents as module
from nas.preparing.documents import documents, is_text, parts_of
from nas.preparing.pieces import Piece

TEXT = "Grüße 三 word, another_one\n\n\tfoo(bar)  baz 1234 ".encode() * 9


def piece(path: Path, kind: str = "text") -> Piece:
    return Piece(kind, path.name, 0, path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize("most", [1, 2, 5, 40, 10**6])
def test_parts_make_up_the_document(most: int) -> None:
    for text in (TEXT, "三😀".encode() * 50, b"\xff\x80" * 50, b"x" * 99):
        blocks = [text[start : start + 7] for start in range(0, len(text), 7)]
        parts = list(parts_of(blocks, most))
        assert b"".join(parts) == text
        assert all(0 < len(part) <= max(most, 4) for part in parts)


def test_parts_end_between_words_or_characters() -> None:
    for part in list(parts_of([TEXT], 60))[:-1]:
        assert part[-1:].isalnum()
    for part in parts_of(["三😀".encode() * 50], 60):
        part.decode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_files_with_a_mark_become_utf8(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(TEXT.decode().encode(encoding))
    assert is_text(str(tmp_path), piece(path))
    (document,) = documents(str(tmp_path), piece(path), "text")
    assert b"".join(document) == TEXT


def test_zero_bytes_near_the_start_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"x\0")
    assert not is_text(str(tmp_path), piece(path))
    path.write_bytes(b"x" * 10_000 + b"\0")
    assert is_text(str(tmp_path), piece(path))


@pytest.mark.parametrize("empty", [False, True])
def test_rows_of_parquet_are_read_in_blocks(empty: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    texts = pyarrow.array([] if empty else [f"text {row}" for row in range(500)], pyarrow.string())
    parquet.write_table(pyarrow.table({"text": texts}), path)
    sizes, read = [], module.parquet_rows

    def counted(*arguments: Any) -> Any:
        for texts in read(*arguments):
            sizes.append(len(texts))
            yield texts

    monkeypatch.setattr(module, "parquet_rows", counted)
    monkeypatch.setattr(module, "BLOCK", 1000)
    own = Piece("parquet", path.name, 0, 1, 0 if empty else 5000)
    assert sum(1 for _ in documents(str(tmp_path), own, "text")) == sum(sizes) == (0 if empty else 500)
    assert empty or sizes == [100] * 5


def test_halves_of_surrogate_pairs_and_invalid_bytes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a\\ud800"}\n{"text": "b\xff"}\n')
    found = [b"".join(document) for document in documents(str(tmp_path), piece(path, "json"), "text")]
    assert found == [b"a\xed\xa0\x80", b"b\xff"]
