"""The checkpoint with the best validation quality, beside those to resume from."""

import math
from typing import Any

import lightning
import torch

from nas.errors import warn
from nas.evaluation.metrics import HIGHER
from nas.files import checksums
from nas.runs import checkpoints
from nas.runs.folder import Run
from nas.training.module import TrainingModule


class KeepBest(lightning.Callback):
    """Saves the weights after each validation whose quality is better than that of all before.

    Validations count once the model is the one that the run is to find: routing has begun, the allowed cost is that of
    the budget, and placements are made. Before, more softmax attention than the budget allows has a better quality.

    Args:
        run: run folder.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._quality: float | None = None

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        assert isinstance(module, TrainingModule)
        if module.validated is None or module.validated.step != trainer.global_step or not module.settled:
            return
        quality = module.validated.quality
        if not math.isfinite(quality) or not self._is_better(quality, HIGHER[module.task.quality]):
            return
        self._quality = quality
        if trainer.is_global_zero:
            checkpoints.save_best(self._run.path, lambda path: trainer.save_checkpoint(path, weights_only=True))
        else:
            trainer.save_checkpoint(self._run.path, weights_only=True)

    def _is_better(self, quality: float, higher: bool) -> bool:
        return self._quality is None or (quality > self._quality if higher else quality < self._quality)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._quality is None else {"quality": self._quality}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._quality = state_dict["quality"]


def restore_best(module: TrainingModule, run: Run) -> None:
    """Give a trained module the weights with the best validation quality; the last ones stay if none was saved."""
    path = checkpoints.best(run.path)
    if path is None:
        warn("trainer.answer=best, but no validation counted, so the last weights are used.")
        return
    checksums.require_intact(run.path, path)
    module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
