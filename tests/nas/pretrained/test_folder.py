import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.errors import UserError
from nas.pretrained.folder import StoredWeights


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        StoredWeights(folder)
    return str(error.value)


def test_weights_of_several_files_are_found_by_their_index(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        save_file({name: torch.full((2,), value)}, tmp_path / f"{name}.safetensors")
    index = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    stored = StoredWeights(tmp_path)
    assert stored.names == {"a", "b"}
    assert stored.shape("b") == (2,)
    assert stored.read("b").tolist() == [2, 2]
    (tmp_path / "b.safetensors").unlink()
    assert "names b.safetensors, which is not in the folder" in refused(tmp_path)


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_a_damaged_index_is_refused(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    assert "cannot be read" in refused(tmp_path)


def test_an_index_reads_no_files_outside_the_folder(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    assert "names a.safetensors, which is not in the folder" in refused(folder)


def test_pickled_weights_are_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return Path.touch, (tmp_path / "executed",)  # type: ignore[return-value]

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    message = refused(tmp_path)
    assert "pytorch_model.bin, a format that can execute code" in message
    assert "save_pretrained(sys.argv[2])" in message
    assert not (tmp_path / "executed").exists()


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    assert "has no weights: neither model.safetensors nor" in refused(tmp_path)
    (tmp_path / "part.safetensors").write_bytes(b"")
    assert "has part.safetensors, but neither model.safetensors nor" in refused(tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"12345678")
    assert "cannot be read" in refused(tmp_path)
