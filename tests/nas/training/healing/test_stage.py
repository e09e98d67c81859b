"""The healing in a search: the model gets nearer to the original, and a stopped one ends as an uninterrupted one."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.runs import checkpoints
from nas.runs.folder import HEALING, REPORT, Run
from nas.runs.history import ORIGINAL, history
from nas.training.batches import Given
from nas.training.healing.module import HealingModule
from tests.nas.commands import nas
from tests.nas.distributed.several import searched, torchrun
from tests.nas.pretrained.written import GEMMA, write_model
from tests.nas.training.alignment.searches import SMALL, SPACE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pretrained model; tests do not write to its folder."""
    torch.manual_seed(0)
    return write_model(tmp_path_factory.mktemp("model"), **GEMMA)


def search(folder: Path, output: Path, *options: str) -> tuple[str, ...]:
    """A search that finds linear layers, without an alignment."""
    own = ("space.operations=[softmax,linear]", "budget.target=0.01", "align.steps=0")
    return (*SPACE, "model=pretrained", f"model.path={folder}", f"output={output}", *SMALL, *own, *options)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next healing stopped in a step, as by Ctrl-C."""
    training_step: Callable[[HealingModule, Given, int], Tensor] = HealingModule.training_step

    def stopped(self: HealingModule, batch: Given, index: int) -> Tensor:
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, index)

    monkeypatch.setattr(HealingModule, "training_step", stopped)


def test_the_model_gets_nearer_to_the_original(folder: Path, tmp_path: Path) -> None:
    healing = ("heal.steps=40", "heal.learning_rate=0.003", "heal.hidden=0.6", "data.batch_size=8")
    ended = nas("search", *search(folder, tmp_path, *healing, "trainer.log_every=10"))
    assert ended.status == 0, ended.err
    assert "Healed: hidden error " in ended.out
    logged = history(Run(ended.run / HEALING))
    assert [row["step"] for row in logged] == [1, 10, 20, 30, 40]
    for name in ("hidden_error/layer_1", "original_divergence"):
        assert logged[-1][name] < 0.8 * logged[0][name]
    metrics = json.loads((ended.run / "metrics.json").read_text())
    assert (metrics["learnt"], metrics["original"]) == ("healed model", "original")
    assert metrics["stages"].keys() == {HEALING}, "it has no alignment"
    assert metrics["stages"][HEALING]["tokens"] == 16384, "of 40 batches of 8 sequences of 32 to 64 tokens"
    assert metrics["stages"][HEALING]["seconds"] > 0
    names = list(metrics["routings"])
    assert (names[0], names[-2:]) == ("healed model", ["found architecture", "original"])
    assert "most expensive" in names
    found, original = (metrics["routings"][name]["1x"] for name in ("healed model", "original"))
    assert (found["share"], original["share"]) == (0.0, 0.5), "the other layer of the original attends to a window"
    assert found["kv_bytes"] < original["kv_bytes"]
    page = (ended.run / REPORT).read_text()
    assert "Healing: squared error from the original's hidden states" in page.replace("&#39;", "'")
    assert "Healing: divergence from the original" in page


def test_a_stopped_healing_ends_as_an_uninterrupted_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("space.operations=[softmax,token_hybrid]", "budget.target=0.3", "heal.steps=4", "heal.hidden=0.5")
    whole = nas("search", *search(folder, tmp_path / "whole", *options))
    assert whole.status == 0, whole.err
    stop_at(1, monkeypatch)
    stopped = nas("search", *search(folder, tmp_path / "stopped", *options))
    monkeypatch.undo()
    assert (stopped.status, stopped.err) == (130, "")
    assert f"Continue with: resume={stopped.run}" in stopped.out
    assert not (stopped.run / "metrics.json").exists()
    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 0, resumed.err
    assert "Continuing the healing from step 2: 2 steps are left." in resumed.out
    for name in ("model.safetensors", "architecture.json"):
        assert (whole.run / name).read_bytes() == (stopped.run / name).read_bytes()
    assert [row["step"] for row in history(Run(stopped.run / HEALING))] == [1, 2, 3, 4]
    tokens = [
        json.loads((run / "metrics.json").read_text())["stages"][HEALING]["tokens"] for run in (whole.run, stopped.run)
    ]
    assert tokens[0] == tokens[1] > 0


def test_a_finished_healing_is_not_repeated_unless_the_search_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = nas("search", *search(folder, tmp_path, "heal.steps=2"))
    weights = (ended.run / "model.safetensors").read_bytes()
    losses = HealingModule.losses
    monkeypatch.setattr(HealingModule, "losses", None)  # a step would be an error
    again = nas("search", f"resume={ended.run}")
    assert again.status == 0, again.err
    assert "Continuing the healing from step 2: no steps are left." in again.out
    assert (ended.run / "model.safetensors").read_bytes() == weights
    monkeypatch.setattr(HealingModule, "losses", losses)
    later = nas("search", f"resume={ended.run}", "trainer.steps=3")
    assert later.status == 0, later.err
    assert "Continuing the healing" not in later.out
    assert checkpoints.newest(ended.run / "step=000000002" / HEALING) is not None
    assert checkpoints.newest(ended.run / HEALING) is not None


def test_a_healing_that_diverges_leaves_the_result_of_the_search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = HealingModule.losses

    def lost(self: HealingModule, *given: object) -> tuple[Tensor, dict[str, Tensor]]:
        loss, figures = losses(self, *given)  # type: ignore[arg-type]
        factor = float("nan") if self.global_step == 1 else 1.0
        return loss * factor, figures | {"loss": figures["loss"] * factor}

    monkeypatch.setattr(HealingModule, "losses", lost)
    ended = nas("search", *search(folder, tmp_path, "heal.steps=4"))
    assert (ended.status, ended.err) == (1, "")
    said = " ".join(ended.out.split())
    assert "The healing diverged by step 2: the loss or a weight is not a finite number." in said
    assert "heal.learning_rate below 0.0001" in said
    metrics = json.loads((ended.run / "metrics.json").read_text())
    assert metrics["learnt"] == "found architecture"
    assert "Healed" not in ended.out


def test_a_healing_needs_the_original(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = shutil.copytree(folder, tmp_path / "model")
    stop_at(0, monkeypatch)
    stopped = nas("search", *search(own, tmp_path, "heal.steps=2"))
    monkeypatch.undo()
    (own / "model.safetensors").unlink()
    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 1
    assert f"model.path={own}" in resumed.err
    assert resumed.err.count("\n") == 1


def test_two_processes_heal_as_one(folder: Path, tmp_path: Path) -> None:
    options = ("heal.steps=4", "heal.learning_rate=0.003", "heal.hidden=0")
    both = torchrun(tmp_path / "logs", "-m", "nas.search", *search(folder, tmp_path / "two", *options))
    assert both.ended.status == 0, both.ended.err
    assert both.ended.out.count("Healed: ") == 1
    alone = nas("search", *search(folder, tmp_path / "one", *options))
    assert alone.status == 0, alone.err
    runs = [searched(tmp_path / "two"), alone.run]
    tokens = [json.loads((run / "metrics.json").read_text())["stages"][HEALING]["tokens"] for run in runs]
    assert tokens[0] == tokens[1] > 0
    logged = [torch.tensor([row[ORIGINAL] for row in history(Run(run / HEALING))]) for run in runs]
    torch.testing.assert_close(*logged, rtol=2e-3, atol=1e-6)
    assert len(logged[0]) == 4
    assert logged[0].max() > 1.5 * logged[0].min(), "steps on half of the batches would lead elsewhere"
