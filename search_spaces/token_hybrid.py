"""Token-level hybrids (NAtS-L): in each routed layer and head, every chunk of tokens chooses its own operation.

What is searched is the routing function, so the space is searched by gradient descent on the routers, and its
supernet is what is found: the weights serve every routing.
"""

from nas.architecture import Architecture, Mixer
from nas.config import ModelConfig
from nas.errors import UserError


def supernet(model: ModelConfig, vocab_size: int) -> Architecture:
    """Routers in ``model.routed_layers`` (null for all), Gated DeltaNet in the other layers."""
    routed = range(model.layers) if model.routed_layers is None else model.routed_layers
    for layer in routed:
        if not 0 <= layer < model.layers:
            raise UserError(f"model.routed_layers has {layer}; the model has layers 0 to {model.layers - 1}.")
    mixers: tuple[Mixer, ...] = tuple("token_hybrid" if layer in routed else "linear" for layer in range(model.layers))
    return model.architecture(mixers, vocab_size)
