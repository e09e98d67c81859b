"""Layer-level hybrids: each layer is softmax attention, Gated DeltaNet, or both with a router."""

from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import layerwise
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Every layer chooses one of ``space.operations``."""
    return layerwise(config, model, vocab_size, range(model.layers))
