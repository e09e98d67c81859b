"""Recorded functions without a GPU: at each replay they compute again, between the same ports."""

from collections.abc import Hashable

import pytest
import torch

from nas.training.graphs import recorded_functions
from nas.training.graphs.recorded_functions import Passes


class Uncaptured:
    """Stands in for `nas.training.graphs.recorded_functions.FunctionRecorder`: a recorded function stays as it is."""

    recorded = 0

    def __init__(self, device: torch.device) -> None:
        pass

    def room(self) -> bool:
        return True

    def record(self, group: Hashable, passes: Passes, together: bool) -> None:
        type(self).recorded += 1
        with torch.random.fork_rng():
            passes.run_forward()
            if passes.has_gradient:
                passes.run_backward()
        if together:
            passes.forward, passes.backward = passes.both, lambda: None


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions are recorded, though on a CPU."""
    monkeypatch.setattr(recorded_functions, "FunctionRecorder", Uncaptured)
    monkeypatch.setattr(Uncaptured, "recorded", 0)
    monkeypatch.setattr("nas.training.graphs.recorded_steps.wanted", lambda trainer, tokens: True)
