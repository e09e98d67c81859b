"""Everything at once: each layer chooses its operation, and where that is a token hybrid its chunk size too."""

from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import layerwise
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Every layer chooses one of ``space.operations``, token_hybrid in each of ``space.chunk_sizes``."""
    return layerwise(config, model, vocab_size, range(model.layers))
