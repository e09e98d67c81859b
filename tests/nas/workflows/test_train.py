"""A training from data to report, as comparisons run it."""

import io
from pathlib import Path

import lightning
import pytest
from rich.console import Console

from nas.errors import UserError
from nas.workflows.train import run_training
from tests.nas.commands import SMALL, composed


class Steps(lightning.Callback):
    """Remembers the steps that it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        self.seen.append(trainer.global_step)


def test_it_hands_back_its_run_its_module_and_its_status(tmp_path: Path) -> None:
    console, steps = Console(file=io.StringIO()), Steps()
    options = ("architecture=linear-softmax", "trainer.steps=2", "data.length_factors=[1]", f"output={tmp_path}")
    outcome = run_training(composed("train", *SMALL, *options), console, [steps])
    assert outcome.status == 0
    assert outcome.run.path.parent == tmp_path / "train"
    assert outcome.module.model.architecture.mixers == ("linear", "softmax")
    assert steps.seen == [1, 2]
    assert console.file.getvalue().startswith("Training linear-softmax on recall, run folder ")  # type: ignore[attr-defined]


def test_what_is_neither_a_file_nor_a_name_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    config = composed("train", *SMALL, "architecture=nothing", f"output={tmp_path / 'outputs'}")
    with pytest.raises(UserError, match="architecture=nothing is neither a file nor a name; give the architecture"):
        run_training(config, Console(file=io.StringIO()))
    assert not (tmp_path / "outputs").exists()
