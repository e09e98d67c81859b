"""Token-level hybrids (NAtS-L): in each routed layer and head, every chunk of tokens chooses its own operation.

What is searched is the routing function, not the layers: as a set of architectures the space has one element, and its
weights serve every routing.
"""

from nas.search_spaces.architecture import Layer
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import routed_layers
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Routers in ``model.routed_layers`` (null for all), Gated DeltaNet in the other layers."""
    routed = routed_layers(model)
    layers = tuple(
        Layer("token_hybrid" if index in routed else "linear", model.chunk_size) for index in range(model.layers)
    )
    return Space(config.name, model.architecture(layers, vocab_size), tuple((layer,) for layer in layers))
