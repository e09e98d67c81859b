"""Corpora of a task: weights, one vocabulary, disjoint parts, and what is refused."""

import math
import re
from pathlib import Path

import pytest

from nas.data.shards.corpora import Corpora
from nas.errors import UserError
from tests.nas.data.shards.foreign import write_nanogpt
from tests.nas.data.shards.written import write_folder


def opened(path: Path | None, **options: object) -> Corpora:
    given = {"mix": None, "tokenizer": None, "end": None, "vocab_size": None} | options
    return Corpora.open(None if path is None else str(path), **given)  # type: ignore[arg-type]


def test_parts_are_disjoint_and_begin_with_a_document(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": [[b"ab"] * 11], "validation": [[b"cd"] * 7]})
    (parts,) = opened(tmp_path).parts
    for whole, pieces in ((parts.all, (parts.weights, parts.choices)), (None, (parts.validation, parts.selection))):
        tokens = [span.tokens(0, 999).tolist() for span in pieces]
        assert all(len(own) % 3 == 0 and own[-1] == 256 for own in tokens)
        assert len(tokens[0]) > len(tokens[1]) > 0
        if whole is not None:
            assert [*tokens[0], *tokens[1]] == whole.tokens(0, 999).tolist()


def test_several_corpora_have_one_vocabulary_and_tell_all_files(tmp_path: Path) -> None:
    for name in "ab":
        write_folder(tmp_path / name, {"train": [[b"text"] * 9], "validation": [[b"more"] * 9]})
    places = [str(tmp_path / name) for name in "ab"]
    corpora = opened(None, mix=dict(zip(places, (3, 0.5), strict=True)), vocab_size=300)
    assert (corpora.weights, corpora.vocab_size) == ([3, 0.5], 300)
    assert corpora.vocabulary is not None
    assert corpora.vocabulary.size == 257
    assert corpora.source.path == " + ".join(places)
    assert f"{places[1]}/train-00000.bin" in corpora.source.files
    assert len(corpora.source.files) == 6


def refusal(path: Path | None, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        opened(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert re.search("; (give|prepare) ", message)
    return message


def test_options_that_cannot_work_are_refused(tmp_path: Path) -> None:
    nano = tmp_path / "nano"
    write_nanogpt(nano / "train.bin", range(100))
    write_nanogpt(nano / "val.bin", range(2000))
    assert "data.path is missing" in refusal(None)
    assert "data.mix are both given" in refusal(nano, mix={"a": 1})
    for weight in (0, -1, math.nan, math.inf, "b", True, None):
        assert f"data.mix has {weight} for a;" in refusal(None, mix={"a": weight})
    assert "data.mix=3 is no mapping" in refusal(None, mix=3)
    assert "does not say its vocabulary; give data.tokenizer" in refusal(nano)
    assert "data.vocab_size=256 is less than the 257 ids" in refusal(nano, tokenizer="bytes", vocab_size=256)
    assert "val.bin has the token id 1999, but the vocabulary has the ids 0 to 1998" in refusal(nano, vocab_size=1999)
    assert "data.end=2000 is no token id: the vocabulary has the ids 0 to 1999" in refusal(
        nano, vocab_size=2000, end=2000
    )
    short = write_nanogpt(tmp_path / "short.bin", [1])
    assert "is too short: it has 0 tokens for training" in refusal(short, vocab_size=2)
    write_folder(tmp_path / "held_out", {"validation": [[b"text"]]})
    assert "held_out is too short: it has 0 tokens for training" in refusal(tmp_path / "held_out")
    write_folder(tmp_path / "own", {"train": [[b"text"]]})
    assert "have different tokenizers" in refusal(None, mix={str(tmp_path / "own"): 1, str(nano): 1})
