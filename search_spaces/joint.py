"""The joint space: each layer has one of several operations, and a token hybrid one of several chunk sizes."""

from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import layerwise, searchable_layers
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Return the space: ``space.operations`` in ``space.layers`` (null for all).

    Layers with a router have each of ``space.chunk_sizes``.
    """
    return layerwise(config, model, vocab_size, searchable_layers(config, model))
