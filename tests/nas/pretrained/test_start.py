import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from nas.models.language_model import LanguageModel
from nas.pretrained.start import start_from_pretrained
from nas.pretrained.weights import load_pretrained
from nas.runs.folder import ARCHITECTURE, WEIGHTS, Run
from nas.runs.model_files import load_architecture, load_weights
from nas.search_spaces import baselines
from tests.nas.architectures import small
from tests.nas.commands import BATCHES, DATA, SHORT, TRAINER, nas, refusal
from tests.nas.pretrained.written import GEMMA, architecture_of, model_of, write_model

SMALL = (*DATA, *BATCHES, *TRAINER, *SHORT, "model.chunk_size=8")


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
    resumed = nas("search", f"resume={ended.run}", "trainer.steps=3")
    assert resumed.status == 0, resumed.err
    assert "Starting from" not in resumed.out
    load_weights(LanguageModel(found), ended.run / WEIGHTS)


def test_softmax_everywhere_is_the_original(folder: Path) -> None:
    architecture = baselines.build("softmax", model_of(folder), 24, 1.0)
    assert architecture is not None
    assert architecture.mixers == ("window", "softmax")
    assert architecture.vocab_size == 256


def test_what_a_search_found_needs_its_pretrained_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ARCHITECTURE).write_text(architecture_of(folder).to_json())
    (tmp_path / "plain.json").write_text(small(vocab_size=24).to_json())
    path = f"architecture={tmp_path / ARCHITECTURE}"
    assert "is of a pretrained model, but model.path=None; give" in refusal("train", path, *SMALL)
    path = f"architecture={tmp_path / 'plain.json'}"
    message = refusal("train", path, "model=pretrained", f"model.path={folder}", *SMALL)
    assert "is of no pretrained model, but" in message


def test_an_average_begins_with_the_pretrained_weights(folder: Path, tmp_path: Path) -> None:
    given = ("architecture=softmax", "model=pretrained", f"model.path={folder}", f"output={tmp_path}")
    frozen = ("trainer.ema=0.9", "trainer.optimizer=muon", "trainer.answer=best", "trainer.learning_rate=1e-12")
    ended = nas("train", *given, *SMALL, *frozen, "trainer.validate_every=1")
    assert ended.status == 0, ended.err
    found, stored = LanguageModel(architecture_of(folder)), LanguageModel(architecture_of(folder))
    load_weights(found, ended.run / WEIGHTS)
    load_pretrained(stored, folder)
    for own, weight in zip(found.parameters(), stored.parameters(), strict=True):
        torch.testing.assert_close(own, weight, rtol=0, atol=1e-5)


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


def test_weights_are_loaded_unless_a_checkpoint_replaces_them(folder: Path, tmp_path: Path) -> None:
    run, console = Run(tmp_path), Console(file=io.StringIO())
    config, model = model_of(folder), LanguageModel(architecture_of(folder))
    before = model.embedding.weight.clone()
    start_from_pretrained(model, replace(config, path=None), run, console)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step=000000002.ckpt").touch()
    start_from_pretrained(model, config, run, console)
    assert torch.equal(model.embedding.weight, before)
    (tmp_path / "checkpoints" / "step=000000002.ckpt").unlink()
    start_from_pretrained(model, config, run, console)
    assert not torch.equal(model.embedding.weight, before)
