"""The model files of a run: what was written comes back, and what a stranger's file may not do."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.errors import UserError
from nas.files.checksums import CHECKSUMS
from nas.models.language_model import LanguageModel
from nas.runs.model_files import load_architecture, load_weights, write_weights
from tests.nas.architectures import small
from tests.nas.commands import refusal
from tests.nas.runs.bomb import Bomb


@pytest.mark.parametrize("tied", [False, True])
def test_weights_come_back_as_they_were(tmp_path: Path, tied: bool) -> None:
    model, other = (LanguageModel(small(tie_embeddings=tied)) for _ in range(2))
    write_weights(tmp_path, model)
    load_weights(other, tmp_path / "model.safetensors")
    for name, weight in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], weight), name
    assert (other.head.weight is other.embedding.weight) is tied


def test_weights_of_another_architecture_or_none_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path, LanguageModel(small()))
    weights, bomb = tmp_path / "model.safetensors", tmp_path / "bomb"
    others = [LanguageModel(small("linear")), LanguageModel(small(mlp_width=20))]
    for other in others:
        before = {name: weight.clone() for name, weight in other.state_dict().items()}
        with pytest.raises(UserError, match="does not hold the weights of this architecture"):
            load_weights(other, weights)
        for name, weight in other.state_dict().items():
            assert torch.equal(weight, before[name]), name
    (tmp_path / CHECKSUMS).unlink()
    for damaged in (weights.read_bytes()[:500], b"", pickle.dumps(Bomb(bomb))):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match="does not hold the weights"):
            load_weights(LanguageModel(small()), weights)
    assert not bomb.exists()


def test_the_architecture_of_a_run(search: Any) -> None:
    architecture = load_architecture(search.run / "architecture.json")
    assert architecture.mixers == ("token_hybrid", "token_hybrid")
    assert architecture.chunk_size == 8


def test_an_architecture_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(small().to_json())
    assert load_architecture(tmp_path / "mine.json") == small()


@pytest.mark.parametrize("text", ["", "[", "[]", "3", "null", '"architecture"', "{}", '{"architecture": 3}'])
def test_what_is_no_architecture(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(UserError, match=f"architecture={path} is not an architecture: "):
        load_architecture(path)


@pytest.mark.parametrize("size", ["vocab_size", "width", "mlp_width", "value_dim", "conv_size"])
def test_an_architecture_that_is_larger_than_the_machine(finished: Path, size: str) -> None:
    (finished / "checksums.json").unlink()
    path = finished / "architecture.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found["architecture"][size] = 10**12
    path.write_text(json.dumps(found), encoding="utf-8")
    message = refusal("visualize", f"run={finished}")
    assert re.search(rf"architecture={path} has .* need at least [\d,]+ GiB, but this machine has [\d,]+ GiB", message)


def test_an_architecture_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "nowhere", tmp_path / "binary"):
        with pytest.raises(UserError, match=r"cannot be read .*; give the architecture.json of a run"):
            load_architecture(path)
