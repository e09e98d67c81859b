"""The alignment in a search: errors fall, the original stays, and a stopped one ends as an uninterrupted one."""

import io
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
import torch
from rich.console import Console
from torch import Tensor

from nas.pretrained.weights import stored_names
from nas.runs import checkpoints
from nas.runs.folder import ALIGNMENT, REPORT, Run
from nas.runs.history import by_operation, history
from nas.training.alignment.errors import added_parameters, alignment_errors, options_to_align
from nas.training.alignment.module import AlignmentModule
from nas.training.alignment.stage import align
from nas.training.batches import Given
from tests.nas.commands import nas
from tests.nas.pretrained.written import GEMMA, write_model
from tests.nas.training.alignment.searches import SMALL, SPACE, config_of, model_and_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pretrained model; tests do not write to its folder."""
    torch.manual_seed(0)
    return write_model(tmp_path_factory.mktemp("model"), **GEMMA)


def search(folder: Path, output: Path, *options: str) -> tuple[str, ...]:
    return (*SPACE, "model=pretrained", f"model.path={folder}", f"output={output}", *SMALL, *options)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next alignment stopped in a step, as by Ctrl-C."""
    training_step: Callable[[AlignmentModule, Given, int], Tensor] = AlignmentModule.training_step

    def stopped(self: AlignmentModule, batch: Given, index: int) -> Tensor:
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return training_step(self, batch, index)

    monkeypatch.setattr(AlignmentModule, "training_step", stopped)


def aligned(run: Path) -> dict[str, Tensor]:
    """The parameters in the newest checkpoint of an alignment."""
    newest = checkpoints.newest(run / ALIGNMENT)
    assert newest is not None
    found: dict[str, Tensor] = torch.load(newest, weights_only=True)["state_dict"]
    return found


def test_errors_fall_and_the_original_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, "align.steps=30", "align.learning_rate=0.05", "trainer.log_every=10")
    model, task = model_and_task(config)
    tokens = task.train_batch(100).tokens
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    errors = alignment_errors(model, options_to_align(model), tokens)
    output = io.StringIO()
    assert align(model, task, config, Run(tmp_path), Console(file=output, width=200))
    assert "Aligned, relative squared error: linear " in output.getvalue()
    after = alignment_errors(model, options_to_align(model), tokens)
    for layer in (0, 1):
        assert after[layer, "linear"] < 0.8 * errors[layer, "linear"]
    own, stored = added_parameters(model), stored_names(model.architecture)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]) is (name not in own), name
    assert stored.keys() <= before.keys()
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    logged = history(Run(tmp_path / ALIGNMENT))
    assert [row["step"] for row in logged] == [1, 10, 20, 30]
    means = [fmean(by_operation(row)["linear"]) for row in logged]
    assert means[-1] < means[0]


def test_a_stopped_alignment_ends_as_an_uninterrupted_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = nas("search", *search(folder, tmp_path / "whole", "align.steps=4"))
    assert whole.status == 0, whole.err
    assert "Alignment: squared error from the original layers" in (whole.run / REPORT).read_text()
    stop_at(1, monkeypatch)
    stopped = nas("search", *search(folder, tmp_path / "stopped", "align.steps=4"))
    monkeypatch.undo()
    assert (stopped.status, stopped.err) == (130, "")
    assert f"Continue with: resume={stopped.run}" in stopped.out
    assert checkpoints.newest(stopped.run) is None
    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 0, resumed.err
    assert "Continuing the alignment from step 2: 2 steps are left." in resumed.out
    one, other = aligned(whole.run), aligned(stopped.run)
    assert all(torch.equal(x, other[name]) for name, x in one.items())
    for name in ("model.safetensors", "architecture.json"):
        assert (whole.run / name).read_bytes() == (stopped.run / name).read_bytes()
    assert [row["step"] for row in history(Run(stopped.run / ALIGNMENT))] == [1, 2, 3, 4]


def test_a_signal_in_the_last_step_stops_the_search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(1, monkeypatch)
    stopped = nas("search", *search(folder, tmp_path, "align.steps=2"))
    assert stopped.status == 130
    assert checkpoints.newest(stopped.run) is None
    monkeypatch.undo()
    resumed = nas("search", f"resume={stopped.run}")
    assert resumed.status == 0, resumed.err
    assert "Continuing the alignment from step 2: no steps are left." in resumed.out


def test_a_finished_alignment_is_not_repeated(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = nas("search", *search(folder, tmp_path, "align.steps=2"))
    monkeypatch.setattr(AlignmentModule, "losses", None)  # a step would be an error
    shutil.rmtree(ended.run / "checkpoints")  # as of a run that was killed between both stages
    (ended.run / "model.safetensors").unlink()
    again = nas("search", f"resume={ended.run}")
    assert again.status == 0, again.err
    assert "Continuing the alignment from step 2: no steps are left." in again.out
    later = nas("search", f"resume={ended.run}", "trainer.steps=3")
    assert later.status == 0, later.err
    assert "Continuing the alignment" not in later.out


def test_operations_without_parameters_are_not_aligned(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, "space.operations=[softmax,window]", "align.steps=4")
    model, task = model_and_task(config)
    output = io.StringIO()
    assert align(model, task, config, Run(tmp_path), Console(file=output, width=200))
    assert output.getvalue().startswith("Nothing to align: no operation of this space adds parameters")
    assert not (tmp_path / ALIGNMENT).exists()


def test_an_alignment_that_diverges_says_what_would_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AlignmentModule, "figures", lambda self: {"error/layer_0/linear": float("nan")})
    ended = nas("search", *search(folder, tmp_path, "align.steps=2"))
    assert ended.status == 1
    assert (
        "error/layer_0/linear is not a finite number at step 1. Start a new run with align.learning_rate" in ended.err
    )
    assert ended.err.count("\n") == 1
