"""Tokens for a pretrained model are those of its tokenizer."""

import json
from pathlib import Path

import pytest

from nas.data.shards.vocabulary import Vocabulary
from nas.exporting.tokenizer import of_bytes
from tests.nas.commands import BATCHES, SHORT, TRAINER, nas, refusal
from tests.nas.data.shards.written import TEXT, train_tokenizer, write_folder
from tests.nas.pretrained.written import write_model

SMALL = ("data=tokens", "data.length=32", *BATCHES, *TRAINER, *SHORT, "model=pretrained", "model.chunk_size=8")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("tokenizers")
    train_tokenizer(write_model(tmp_path / "model", vocab_size=320) / "tokenizer.json")
    return tmp_path / "model"


def write_tokens(path: Path, tokenizer: Path | None) -> Path:
    write_folder(path, {"train": [[TEXT.encode()] * 9], "validation": [[TEXT.encode()]]}, tokenizer)
    return path


@pytest.mark.parametrize("command", ["train architecture=softmax", "search +space=layer_hybrid"])
def test_tokens_of_another_tokenizer_are_refused(command: str, model: Path, tmp_path: Path) -> None:
    other = write_tokens(tmp_path / "tokens", train_tokenizer(tmp_path / "other.json", 299))
    message = refusal(*command.split(), *SMALL, f"model.path={model}", f"data.path={other}")
    assert f"tokens of another tokenizer than model.path={model}: tokenizer.json differs; give" in message
    less = write_model(tmp_path / "less", vocab_size=280)  # without a tokenizer.json
    message = refusal(*command.split(), *SMALL, f"model.path={less}", f"data.path={other}")
    assert "has 280 token ids, but the data has 299; give data that was prepared with the tokenizer" in message


def test_packed_tokens_of_its_tokenizer_train_it(model: Path, tmp_path: Path) -> None:
    own = write_tokens(tmp_path / "tokens", model / "tokenizer.json")
    given = ("architecture=token_hybrid", *SMALL, "data.documents=packed", "trainer.accumulate=2")
    ended = nas("train", *given, f"model.path={model}", f"data.path={own}", f"output={tmp_path}")
    assert ended.status == 0, ended.err


def test_bytes_are_no_tokens_of_another_tokenizer(model: Path, tmp_path: Path) -> None:
    given = SMALL[1:]
    message = refusal("train", "architecture=softmax", "data=text", *given, f"model.path={model}")
    assert f"data=text has bytes as tokens, but model.path={model} has a tokenizer.json of other tokens" in message
    (model / "tokenizer.json").write_text(json.dumps(of_bytes(Vocabulary.of_bytes(), 320)))
    ended = nas("train", "architecture=softmax", "data=text", *given, f"model.path={model}", f"output={tmp_path}")
    assert ended.status == 0, ended.err
