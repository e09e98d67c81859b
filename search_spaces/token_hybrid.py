"""The space of token-level hybrids (NAtS-L): in each routed layer and head, a router chooses an operation by chunk.

The search learns the routing function, not the layers. As a set of architectures the space has one element, whose
weights serve every routing.
"""

from nas.search_spaces.architecture import Layer
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.layers import refuse_layers, routed_layers
from nas.search_spaces.space import Space


def space(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Return the space: routers in ``model.routed_layers`` (null for all), Gated DeltaNet in other layers.

    Other layers of a pretrained model keep their operations.
    """
    refuse_layers(config)
    routed = routed_layers(model)
    layers = tuple(
        Layer("token_hybrid" if index in routed else model.unsearched(index), model.chunk_size)
        for index in range(model.layers)
    )
    return Space(config.name, model.architecture(layers, vocab_size), tuple((layer,) for layer in layers))
