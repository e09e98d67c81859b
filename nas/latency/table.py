"""The latency table of a search: milliseconds of each layer as a function of its softmax share, and of the rest."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from nas.models.operations.operation import CostLine
from nas.runs.folder import read_json
from nas.search_spaces.architecture import Layer

LATENCIES = "latencies.json"
"""File of a run folder with the latency table of its budget."""
LATENCY = "latency"
"""Resource of a budget on measured milliseconds."""
DECODE, PREFILL = PHASES = "decode", "prefill"
"""What a latency is the time of: one token after the context, or the whole context as a prompt."""


@dataclass(frozen=True)
class Setting:
    """The conditions under which latencies are measured, with one sequence.

    Attributes:
        phase: one of `PHASES`.
        context: tokens of the sequence.
        precision: precision of the computation, a value of `trainer.precision`.
        device: name of the device.
        versions: versions of the software.
    """

    phase: str
    context: int
    precision: str
    device: str
    versions: str

    @property
    def machine(self) -> str:
        """The device with the versions."""
        return f"{self.device}, {self.versions}"


@dataclass(frozen=True)
class LayerLatency:
    """The latency of one layer: its mixer, its MLP and their norms.

    Attributes:
        dropped_ms: milliseconds without softmax chunks; of a layer without a router, its milliseconds.
        kept_ms: milliseconds with softmax chunks only; the same as dropped_ms for a layer without a router.
        deviation_ms: distance of the latency at a softmax share of 0.5 from the mean of both.
    """

    dropped_ms: float
    kept_ms: float
    deviation_ms: float = 0.0

    @property
    def line(self) -> CostLine:
        """The milliseconds as a function of the softmax share.

        A share that saves time is within the error of measurement. It costs nothing then.
        """
        if self.kept_ms < self.dropped_ms:
            return CostLine((self.dropped_ms + self.kept_ms) / 2)
        return CostLine(self.dropped_ms, self.kept_ms - self.dropped_ms)


@dataclass(frozen=True)
class Latencies:
    """A latency table.

    Attributes:
        setting: conditions of the measurements.
        layers: latency by layer.
        rest_ms: milliseconds outside the layers: embedding, last norm and head.
    """

    setting: Setting
    layers: dict[Layer, LayerLatency]
    rest_ms: float

    def line(self, layer: Layer) -> CostLine:
        """Return the milliseconds of a layer as a function of its softmax share."""
        return self.layers[layer].line

    @property
    def summary(self) -> str:
        """The table in one sentence."""
        every = self.layers.values()
        least, most = (min(one.line.base for one in every), max(one.line.at(1.0) for one in every))
        deviation = max(one.deviation_ms for one in every)
        return (
            f"Latencies of {self.setting.phase} at {self.setting.context:,} tokens on {self.setting.device}: "
            f"{least:.3g} to {most:.3g} ms a layer, {self.rest_ms:.3g} ms outside the layers; at a softmax share of "
            f"0.5 at most {deviation:.2g} ms off the line between 0 and 1"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        layers = [layer._asdict() | asdict(own) for layer, own in self.layers.items()]
        return asdict(self.setting) | {"rest_ms": self.rest_ms, "layers": layers}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        """Return the table of `as_json`."""
        layers = {
            Layer(*(own[name] for name in Layer._fields)): LayerLatency(**_own(LayerLatency, own))
            for own in given["layers"]
        }
        return cls(Setting(**_own(Setting, given)), layers, given["rest_ms"])


def _own(kind: type[Setting | LayerLatency], given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass among JSON values."""
    return {field.name: given[field.name] for field in fields(kind)}


def read_latencies(folder: Path) -> Latencies | None:
    """Return the latency table of a run folder; None if it has none, or if it is damaged."""
    given = read_json(folder / LATENCIES)
    try:
        return Latencies.from_json(given)
    except (KeyError, TypeError):
        return None
