"""Routing grains: each routed layer chooses how many tokens its router decides about at a time."""

from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import layerwise, routed_layers
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Each of ``model.routed_layers`` (null for all) chooses one of ``space.chunk_sizes``, the others are linear."""
    return layerwise(config, model, vocab_size, routed_layers(model))
