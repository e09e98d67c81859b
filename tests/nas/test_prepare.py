"""`python -m nas.prepare` as a user runs it."""

from pathlib import Path

from nas.data.shards.folder import Folder
from tests.nas.commands import nas, refusal


def test_a_folder_becomes_shards(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for number in range(30):
        (tmp_path / f"corpus/{number}.txt").write_text(f"document {number}\n" * 20)
    options = (f"input={tmp_path}/corpus", f"output={tmp_path}/tokens", "tokenizer.vocab_size=300", "validation=0.3")
    ended = nas("prepare", *options, "workers=1")
    assert ended.status == 0, ended.err
    assert ended.err == ""
    assert "30 documents of 0.0 MB became" in ended.out
    assert f"data=tokens data.path={tmp_path}/tokens" in ended.out
    assert Folder.read(tmp_path / "tokens").input.documents == 30
    assert "was begun with another validation: 0.3" in refusal("prepare", *options, "validation=0.4", "workers=1")


def test_missing_and_wrong_options_are_refused(tmp_path: Path) -> None:
    assert "input is missing; give" in refusal("prepare")
    assert "output is missing; give" in refusal("prepare", f"input={tmp_path}")
    given = (f"input={tmp_path}", f"output={tmp_path}/x")
    assert "tokenizer.vocab_size=9 is not allowed; give 257 or more" in refusal(
        "prepare", *given, "tokenizer.vocab_size=9"
    )
    assert "tokenizer=words is unknown; choose one of: bpe, bytes" in refusal("prepare", *given, "tokenizer=words")
    assert "vocab_size is not an option" in refusal("prepare", *given, "tokenizer=bytes", "+tokenizer.vocab_size=300")
    assert "validation=2.0 is not allowed" in refusal("prepare", *given, "validation=2")
    assert "shard_bytes=1 is not allowed; give 65536 or more" in refusal("prepare", *given, "shard_bytes=1")
    assert "workers=many is not allowed" in refusal("prepare", *given, "workers=many")
