"""The cache folder of a user: values by group and key, which outlive the process and damage."""

from pathlib import Path

import pytest

from nas.kernels.user_cache import add_to_cache, cache_path, read_cache


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_path("a.json") == tmp_path / "nas-hybrid-attention" / "a.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_path("a.json") == tmp_path / ".cache" / "nas-hybrid-attention" / "a.json"


def test_values_are_added(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.json"
    assert read_cache(path, "one") == {}
    add_to_cache(path, "one", {"a": 0.1 + 0.2, "b": None})
    add_to_cache(path, "two", {"a": 1})
    add_to_cache(path, "one", {"b": 2})
    assert read_cache(path, "one") == {"a": 0.1 + 0.2, "b": 2}
    assert read_cache(path, "two") == {"a": 1}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", ["", "[1]", '{"one": 3}', "\0"])
def test_a_damaged_file_is_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    assert read_cache(path, "one") == {}
    add_to_cache(path, "one", {"a": 1})
    assert read_cache(path, "one") == {"a": 1}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    add_to_cache(tmp_path / "file" / "a.json", "one", {"a": 1})
    assert read_cache(tmp_path / "file" / "a.json", "one") == {}
