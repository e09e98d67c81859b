"""The recorded corpus of a run, and what happens when it has changed."""

import json
from pathlib import Path

import pytest

from nas.data.corpus import Source
from nas.runs.source import CORPUS, changes, read_source
from tests.nas.commands import BATCHES, MODEL, TRAINER, nas, refusal

TEXT = ("data=text", "data.length=16", *BATCHES, *MODEL, *TRAINER, "trainer.steps=2")


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    folder = tmp_path / "stories"
    folder.mkdir()
    for name in ("one.txt", "two.txt", "three.txt"):
        (folder / name).write_text(f"{name}: Grüße.\n" * 40, encoding="utf-8")
    return folder


def test_changes_are_named() -> None:
    before = Source("x", {"a": (1, "f"), "b": (1, "f"), "c": (1, "f")})
    assert changes(before, before) is None
    found = changes(before, Source("x", {"a": (1, "f"), "b": (1, "e"), "d": (1, "f")}))
    assert str(found) == "changed b; missing c; new d"


def test_a_damaged_file_is_no_source(tmp_path: Path) -> None:
    for content in ("", "[]", '{"path": "x", "files": {"a": 3}}'):
        (tmp_path / CORPUS).write_text(content, encoding="utf-8")
        assert read_source(tmp_path) is None


def test_a_run_says_what_it_reads_and_refuses_a_changed_corpus(stories: Path, tmp_path: Path) -> None:
    ended = nas("train", "architecture=linear", *TEXT, f"data.path={stories}", f"output={tmp_path / 'outputs'}")
    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[0] == f"Reading {stories} (3 files, 0.00224 MB)"
    assert set(json.loads((ended.run / CORPUS).read_text(encoding="utf-8"))["files"]) == {
        "one.txt",
        "two.txt",
        "three.txt",
    }
    assert nas("train", f"resume={ended.run}").status == 0
    (stories / "two.txt").write_text("two.txt: Gruesse\n" * 40, encoding="utf-8")
    message = refusal("train", f"resume={ended.run}")
    assert f"data.path={stories} has changed" in message
    assert "(changed two.txt)" in message
    (ended.run / CORPUS).unlink()
    assert nas("train", f"resume={ended.run}").status == 0
    assert (ended.run / CORPUS).exists()


def test_a_part_of_a_comparison_has_the_corpus_of_the_comparison(stories: Path, tmp_path: Path) -> None:
    """The trainings of a comparison, and the trials of a sweep, have their run folders in its folder."""
    (tmp_path / CORPUS).write_text(json.dumps({"path": str(stories), "files": {"one.txt": [1, "f"]}}), encoding="utf-8")
    options = ("architecture=linear", *TEXT, f"data.path={stories}", f"output={tmp_path}")
    assert f"has changed since {tmp_path} was started (changed one.txt; new three.txt, two.txt)" in refusal(
        "train", *options
    )
