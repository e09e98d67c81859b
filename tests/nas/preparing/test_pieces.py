"""The plan of a corpus: all of it once, in units of similar size, whatever the number of workers."""

import os
from pathlib import Path

import pytest

from nas.preparing import pieces
from nas.preparing.pieces import plan
from tests.nas.preparing.preparing import TEXTS, config, rows, write


def test_files_are_whole_and_in_order(tmp_path: Path) -> None:
    made = plan(config(write(tmp_path / "corpus", TEXTS), tmp_path))
    flat = [piece for unit in made.units for piece in unit]
    assert [piece.name for piece in flat] == sorted(TEXTS)
    assert all((piece.start, piece.stop) == (0, len(TEXTS[piece.name])) for piece in flat)
    assert made.bytes == sum(map(len, TEXTS.values()))
    assert all(sum(piece.size for piece in unit) <= 2000 for unit in made.units)


def test_a_large_corpus_has_many_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SMALL", 50)
    path = rows(tmp_path / "rows.jsonl", ["text"] * 1000)
    made = plan(config(path, tmp_path, shard_bytes=10**9))
    assert 50 <= len(made.units) <= 70
    assert all(len(unit) == 1 for unit in made.units)
    flat = [piece for unit in made.units for piece in unit]
    assert [piece.start for piece in flat] == [0, *(piece.stop for piece in flat[:-1])]
    assert flat[-1].stop == path.stat().st_size


def test_the_digest_follows_names_sizes_and_changes(tmp_path: Path) -> None:
    root = write(tmp_path / "corpus", TEXTS)
    digests = [plan(config(root, tmp_path)).digest]
    assert plan(config(root, tmp_path)).digest == digests[0]
    os.utime(root / "a/1.txt", ns=(1, 1))
    digests.append(plan(config(root, tmp_path)).digest)
    (root / "a/1.txt").rename(root / "a/x.txt")
    digests.append(plan(config(root, tmp_path)).digest)
    assert len({*digests}) == 3
