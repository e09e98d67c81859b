"""Latency tables for tests, without measuring."""

from nas.budget.cost import SpaceCost
from nas.latency.table import LATENCY, Latencies, LayerLatency, Setting
from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Space

SETTING = Setting("decode", 4096, "32-true", "Fake GPU", "PyTorch 9")


def latency(layer: Layer) -> LayerLatency:
    """Softmax attention takes longer than linear attention, and a router longer with smaller chunks."""
    if layer.routed:
        return LayerLatency(0.5 + 1 / layer.chunk_size, 3.0 + 1 / layer.chunk_size, 0.125)
    alone = 2.5 if layer.operations[0] == "softmax" else 0.5
    return LayerLatency(alone, alone)


def table(*options: tuple[Layer, ...], rest_ms: float = 0.25) -> Latencies:
    """A latency table of these options of each layer."""
    return Latencies(SETTING, {layer: latency(layer) for own in options for layer in own}, rest_ms)


def cost_of(resource: str, space: Space, context: int) -> SpaceCost:
    """The cost of a space in a resource; of a latency with a table."""
    return SpaceCost(resource, space, context, table(*space.options) if resource == LATENCY else None)
