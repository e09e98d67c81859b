import io
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from nas.models.language_model import LanguageModel
from nas.pretrained.start import start_from_pretrained
from nas.runs.folder import ARCHITECTURE, WEIGHTS, Run
from nas.runs.model_files import load_architecture, load_weights
from nas.search_spaces.config import ModelConfig
from tests.nas.commands import BATCHES, DATA, TRAINER, nas, refusal
from tests.nas.pretrained.written import GEMMA, architecture_of, write_model

SMALL = (*DATA, *BATCHES, *TRAINER, "trainer.steps=4", "model.chunk_size=8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pretrained model; tests do not write to its folder."""
    return write_model(tmp_path_factory.mktemp("model"), **GEMMA)


def test_a_search_starts_from_the_weights_and_ends_without_their_folder(folder: Path, tmp_path: Path) -> None:
    given = Path(shutil.copytree(folder, tmp_path / "given"))
    options = ("+space=layer_hybrid", "model=pretrained", f"model.path={given}", f"output={tmp_path}")
    ended = nas("search", *options, *SMALL)
    assert ended.status == 0, ended.err
    told = next(line for line in ended.out.splitlines() if line.startswith(f"Starting from {given}: "))
    assert "pretrained parameters" in told
    assert "for the operations beside its own" in told
    shutil.rmtree(given)
    found = load_architecture(ended.run / ARCHITECTURE)
    assert found.backbone is not None
    assert found.backbone.family == "gemma3_text"
    assert found.mixers[0] in ("window", "linear")
    resumed = nas("search", f"resume={ended.run}", "trainer.steps=5")
    assert resumed.status == 0, resumed.err
    assert "Starting from" not in resumed.out
    load_weights(LanguageModel(found), ended.run / WEIGHTS)


def test_softmax_everywhere_is_the_original(folder: Path, tmp_path: Path) -> None:
    options = ("architecture=softmax", "model=pretrained", f"model.path={folder}", f"output={tmp_path}")
    ended = nas("train", *options, *SMALL, "trainer.steps=1", "trainer.warmup_steps=0", "trainer.learning_rate=1e-9")
    assert ended.status == 0, ended.err
    assert "pretrained parameters, no new ones" in ended.out
    assert load_architecture(ended.run / ARCHITECTURE).mixers == ("window", "softmax")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("model.path={}/missing",), "there is no such folder"),
        (
            ("model.path={}", "data.length=65", "data.min_length=65"),
            "data.length=65 is beyond the context of model.path=",
        ),
        (("model.path={}", "data.noise=300"), "has 256 token ids, but the data has 316; give data that was prepared"),
        (("model.path={}", "model.routing_heads=3"), "routing_heads=3 does not divide"),
    ],
)
def test_a_model_that_cannot_start_is_refused(options: tuple[str, ...], message: str, folder: Path) -> None:
    given = [option.format(folder) for option in options]
    assert message in refusal("train", "architecture=softmax", "model=pretrained", *SMALL, *given)


def config_of(folder: Path | None) -> ModelConfig:
    config: Any = ModelConfig.__new__(ModelConfig)
    config.path = None if folder is None else str(folder)
    model: ModelConfig = config
    return model


def test_weights_are_loaded_unless_a_checkpoint_replaces_them(folder: Path, tmp_path: Path) -> None:
    run, console = Run(tmp_path), Console(file=io.StringIO())
    model = LanguageModel(architecture_of(folder))
    before = model.embedding.weight.clone()
    start_from_pretrained(model, config_of(None), run, console)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step=000000002.ckpt").touch()
    start_from_pretrained(model, config_of(folder), run, console)
    assert torch.equal(model.embedding.weight, before)
    (tmp_path / "checkpoints" / "step=000000002.ckpt").unlink()
    start_from_pretrained(model, config_of(folder), run, console)
    assert not torch.equal(model.embedding.weight, before)
