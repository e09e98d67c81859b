"""The space of layer-level hybrids: each layer has softmax attention, Gated DeltaNet, or both with a router."""

from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import layerwise, searchable_layers
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Return the space: ``space.operations`` in ``space.layers`` (null for all)."""
    return layerwise(config, model, vocab_size, searchable_layers(config, model))
