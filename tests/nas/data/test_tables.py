"""The texts of tables, row by row and by ranges."""

import json
from pathlib import Path

import pytest

from nas.data.encodings import Names
from nas.data.tables import json_rows, parquet_file, parquet_rows
from nas.errors import UserError

ROWS = ["Über den Wolken", "two\nlines", "", "三", "last"]
NAMES = Names("input", "column")


def lines(ending: bytes) -> bytes:
    return b"\n".join(json.dumps({"text": row}, ensure_ascii=False).encode() for row in ROWS) + ending


@pytest.mark.parametrize("ending", [b"", b"\n", b"\n\n"], ids=["open", "closed", "blank"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_ranges_of_a_file_have_each_row_once(ending: bytes, mark: bytes, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(mark + lines(ending))
    size = path.stat().st_size
    for step in (1, 7, 16, 17, 18, 60, size):
        ranges = [(start, min(start + step, size)) for start in range(0, size, step)]
        assert [row for range_ in ranges for row in json_rows(path, "text", NAMES, *range_)] == ROWS


def test_other_encodings_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(b"\n").decode().encode("utf-16"))
    assert list(json_rows(path, "text")) == ROWS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"data\.path has the file .* UTF-16"):
        list(json_rows(path, "text"))


def test_bytes_that_are_not_utf8_are_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a\xffb"}\n')
    assert [row.encode("utf-8", "surrogateescape") for row in json_rows(path, "text")] == [b"a\xffb"]


def test_messages_name_the_options_and_the_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": 1}\n')
    with pytest.raises(UserError, match=r"^column=text is not a text in line 1 after byte 5 of "):
        list(json_rows(path, "text", NAMES, 5))


def test_rows_without_a_text_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": null}\n\n{"text": "a"}\n{"id": 1}\n')
    found = json_rows(path, "text", NAMES)
    assert next(found) == "a"
    with pytest.raises(UserError, match=r"^column=text is not a text in line 4 of .*: its columns are id"):
        next(found)


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(UserError, match="line 1 is not JSON"):
        list(json_rows(path, "text"))


def test_damaged_pages_of_a_parquet_file_are_told_by_its_name(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": [f"row {number}" for number in range(5000)]}), path)
    content = bytearray(path.read_bytes())
    content[200:3000] = b"\xff" * 2800
    path.write_bytes(content)
    reason = r"data\.path has the file .*rows\.parquet, which is not Parquet \("
    with pytest.raises(UserError, match=reason), parquet_file(path) as table:
        list(parquet_rows(table, path, "text"))


def test_a_parquet_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    with pytest.raises(FileNotFoundError) as caught, parquet_file(tmp_path / "gone.parquet"):
        pass
    assert caught.value.filename == str(tmp_path / "gone.parquet")


def test_row_groups_are_read_by_number_and_as_bytes(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": [*ROWS, None]}), path, row_group_size=2)
    with parquet_file(path) as table:
        assert list(parquet_rows(table, path, "text", groups=[1, 2], rows=1)) == [
            *([row.encode()] for row in ROWS[2:]),
            [],
        ]
