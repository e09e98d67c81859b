"""Measuring without a clock: latencies that follow from the layer, on a machine with an empty cache."""

from pathlib import Path
from typing import Any

import pytest

from nas.latency import obtain
from nas.search_spaces.architecture import Layer
from tests.nas.latency.examples import latency


class Timing:
    """Replaces the measurements.

    Attributes:
        layers: layers that were measured, in order.
        factor: factor on all latencies, as of another machine.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.factor = 1.0

    def of_layer(self, sizes: Any, layer: Layer, *_: Any) -> Any:
        self.layers.append(layer)
        own = latency(layer)
        return type(own)(*(self.factor * ms for ms in (own.dropped_ms, own.kept_ms, own.deviation_ms)))


@pytest.fixture
def timing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Timing:
    """Latencies without a clock, and an empty cache folder."""
    made = Timing()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(obtain, "layer_latency", made.of_layer)
    monkeypatch.setattr(obtain, "rest_milliseconds", lambda *_: 0.25)
    return made
