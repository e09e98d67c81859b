"""How fast a model trains."""

import statistics
import time
from typing import Any

import lightning

from nas.data import Scored
from nas.training.module import TrainingModule


class Throughput(lightning.Callback):
    """Tokens of training per second, over all devices: the median over the stretches between logged steps.

    A stretch goes from the begin of a step until the figures of a logged one are there, so that validation and
    checkpoints behind a logged step are outside of it. Of the others the median takes no notice, nor of the first
    steps, in which kernels are compiled. A checkpoint keeps what was measured.

    Attributes:
        tokens: of all steps so far, over all devices.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._rates: list[float] = []
        self._since: float | None = None
        self._before = 0

    @property
    def tokens_per_second(self) -> float | None:
        """None before the first logged step."""
        return statistics.median(self._rates) if self._rates else None

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Scored, index: int) -> None:
        if self._since is None:
            self._since, self._before = time.monotonic(), self.tokens

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Scored, index: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        self.tokens += batch.tokens.numel() * trainer.world_size
        if module.logs_at(trainer.global_step):
            assert self._since is not None
            module.figures()  # waits for the GPU
            self._rates.append((self.tokens - self._before) / (time.monotonic() - self._since))
            self._since = None

    def state_dict(self) -> dict[str, Any]:
        return {"rates": self._rates, "tokens": self.tokens}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rates, self.tokens = list(state_dict["rates"]), state_dict["tokens"]
