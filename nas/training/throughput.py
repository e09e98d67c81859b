"""Throughput of training, in tokens per second."""

import statistics
import time
from typing import Any

import lightning

from nas.data import Scored
from nas.training.batches import Given
from nas.training.module import TrainingModule
from nas.training.stages.module import StageModule


class Throughput(lightning.Callback):
    """Measures training tokens per second over all devices, as the median over intervals between logged steps.

    An interval starts at the begin of a step and ends when the figures of a logged step are available. Validation and
    checkpoints after a logged step are outside the intervals. The median is robust to those within an interval and to
    the first steps, which compile kernels. Checkpoints contain the measurements.

    Attributes:
        tokens: number of training tokens so far, over all devices.
        rates: tokens per second of each interval so far.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.rates: list[float] = []
        self._since: float | None = None
        self._before = 0

    @property
    def tokens_per_second(self) -> float | None:
        """Median throughput; None before the first logged step."""
        return statistics.median(self.rates) if self.rates else None

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Given, index: int) -> None:
        if self._since is None:
            self._since, self._before = time.monotonic(), self.tokens

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Given, index: int
    ) -> None:
        assert isinstance(module, TrainingModule | StageModule)
        micro = [batch] if isinstance(batch, Scored) else batch.batches
        self.tokens += sum(one.tokens.numel() for one in micro) * trainer.world_size
        if module.logs_at(trainer.global_step):
            assert self._since is not None
            module.figures()  # waits for the GPU
            self.rates.append((self.tokens - self._before) / (time.monotonic() - self._since))
            self._since = None

    def state_dict(self) -> dict[str, Any]:
        return {"rates": self.rates, "tokens": self.tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rates, self.tokens = list(state_dict["rates"]), state_dict["tokens"]
