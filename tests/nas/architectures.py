"""Small architectures for tests."""

from nas.search_spaces.architecture import Architecture, Mixer


def small(*mixers: Mixer, **changed: object) -> Architecture:
    """Two linear heads and four softmax heads in every layer, in chunks of four tokens, or as changed.

    chunk_size may stand for chunk_sizes, the same in every layer.
    """
    mixers = mixers or ("token_hybrid", "linear", "softmax")
    sizes: dict[str, object] = {
        "vocab_size": 11,
        "width": 12,
        "linear_heads": 2,
        "key_dim": 4,
        "value_dim": 6,
        "softmax_heads": 4,
        "routing_heads": 2,
        "mlp_width": 10,
    }
    sizes["chunk_sizes"] = (changed.pop("chunk_size", 4),) * len(mixers)
    return Architecture(mixers=mixers, **(sizes | changed))  # type: ignore[arg-type]
