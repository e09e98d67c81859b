"""The space of chunk sizes: each routed layer has one of several chunk sizes."""

from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import layerwise, refuse_layers, routed_layers
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Return the space: ``space.chunk_sizes`` in ``model.routed_layers`` (null for all), linear in other layers."""
    refuse_layers(config)
    return layerwise(config, model, vocab_size, routed_layers(model))
