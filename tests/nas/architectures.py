"""Small architectures for tests."""

from nas.models import operations  # registers their names
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.operations import names

assert operations.OPERATIONS
MIXERS = tuple(names())
"""Every mixer that a layer may have."""


def small(*mixers: str, **changed: object) -> Architecture:
    """Two linear heads and four softmax heads in every layer, in chunks of four tokens, or as changed.

    chunk_size is that of every layer; chunk_sizes has that of each.
    """
    mixers = mixers or ("token_hybrid", "linear", "softmax")
    chunk_sizes = changed.pop("chunk_sizes", (changed.pop("chunk_size", 4),) * len(mixers))
    assert isinstance(chunk_sizes, tuple)
    sizes: dict[str, object] = {
        "vocab_size": 11,
        "width": 12,
        "linear_heads": 2,
        "key_dim": 4,
        "value_dim": 6,
        "softmax_heads": 4,
        "routing_heads": 2,
        "mlp_width": 10,
        "window": 6,
    }
    layers = tuple(map(Layer, mixers, chunk_sizes))
    return Architecture(layers=layers, **(sizes | changed))  # type: ignore[arg-type]
