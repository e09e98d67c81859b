"""Signs of life of a running trial, written beside the training: where they stop, its worker was killed."""

import os
import threading
from contextlib import AbstractContextManager
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage

from nas.jobs.processes import orphaned
from nas.sweeps.queue import Attribute

TAKEN_OVER = "another worker took it over"


class Heartbeat(AbstractContextManager["Heartbeat"]):
    """Beats every ``interval`` seconds while the block runs.

    Attributes:
        stop: why the trial must not go on, once there is a reason: another worker has it now (this one was taken for
            dead), or the command that started this worker is gone.
    """

    def __init__(self, storage: BaseStorage, trial_id: int, interval: float, parent: int | None) -> None:
        self.stop: str | None = None
        self._storage, self._trial_id, self._interval, self._parent = storage, trial_id, interval, parent
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        beats = 0
        while True:
            beats += 1
            try:
                self._storage.set_trial_user_attr(self._trial_id, Attribute.BEAT, f"{os.getpid()} {beats}")
            except UpdateFinishedTrialError:
                self.stop = TAKEN_OVER
            except StorageInternalError:
                pass  # out of reach for the moment; the next beat may come through
            if orphaned(self._parent):
                self.stop = "the command that started this worker is gone"
            if self._over.wait(self._interval):
                return
