"""The original of a supernet, by itself."""

from pathlib import Path

import pytest
import torch

from nas.errors import UserError
from nas.models.routing import FIRST_OPTION, first_alone
from nas.pretrained.original import load_original, original_architecture
from tests.nas.pretrained.written import GEMMA, write_model
from tests.nas.training.alignment.searches import config_of, model_and_task


def test_it_has_its_own_operations_and_weights(tmp_path: Path) -> None:
    model, task = model_and_task(config_of(write_model(tmp_path, **GEMMA)))
    assert original_architecture(model.architecture).mixers == ("window", "softmax")
    original, tokens = load_original(model.architecture, str(tmp_path)), task.train_batch(0).tokens
    assert not any(p.requires_grad for p in original.parameters())
    expected = model(tokens, first_alone, layer_choices=[FIRST_OPTION] * 2).logits
    torch.testing.assert_close(original(tokens, first_alone).logits, expected)


def test_its_folder_must_be_there(tmp_path: Path) -> None:
    model, _ = model_and_task(config_of(write_model(tmp_path)))
    with pytest.raises(UserError, match=r"model\.path="):
        load_original(model.architecture, str(tmp_path / "none"))
