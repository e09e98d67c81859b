"""Layer-level hybrids: each layer is softmax attention, Gated DeltaNet, or both with a router."""

from nas.config import ModelConfig, SpaceConfig
from nas.space import Space
from search_spaces.layers import layerwise


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Every layer chooses one of ``space.operations``."""
    return layerwise(config, model, vocab_size, range(model.layers))
