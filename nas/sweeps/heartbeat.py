"""Heartbeats of a running trial, written to the storage during training: when they stop, its worker was killed."""

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
    """A context that writes a heartbeat every ``interval`` seconds while the block runs.

    Attributes:
        stop: why the trial must stop: another worker has taken it over, or the command that started this worker is
            gone. None as long as it may continue.
    """

    def __init__(self, storage: BaseStorage, trial_id: int, interval: float) -> None:
        self.stop: str | None = None
        self._storage, self._trial_id, self._interval = storage, trial_id, interval
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
                pass  # the storage cannot be reached at the moment; the next heartbeat may succeed
            if orphaned():
                self.stop = "the command that started this worker is gone"
            if self._over.wait(self._interval):
                return
