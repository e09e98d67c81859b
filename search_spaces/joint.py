"""Everything at once: each layer chooses its operation, and where that is a token hybrid its chunk size too."""

from nas.config import ModelConfig, SpaceConfig
from nas.space import Space
from search_spaces.layers import layerwise


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Every layer chooses one of ``space.operations``, token_hybrid in each of ``space.chunk_sizes``."""
    return layerwise(config, model, vocab_size, range(model.layers))
