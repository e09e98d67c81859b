"""Searchable layers and their options, for the layer-wise spaces."""

from collections.abc import Sequence

from nas.search_spaces.architecture import Layer
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.operations import allowed, known, operations_of
from nas.search_spaces.space import Space


def routed_layers(model: ModelConfig) -> tuple[int, ...]:
    """Return ``model.routed_layers``, or all layers if it is null; raise a ValueError for a missing layer."""
    routed = tuple(range(model.layers)) if model.routed_layers is None else tuple(model.routed_layers)
    for layer in routed:
        if not 0 <= layer < model.layers:
            raise ValueError(f"model.routed_layers has {layer}; the model has layers 0 to {model.layers - 1}.")
    return routed


def layerwise(config: SpaceConfig, model: ModelConfig, vocab_size: int, choosing: Sequence[int]) -> Space:
    """Return the space with every option of the config in the layers ``choosing``; other layers are linear."""
    linear = Layer("linear", model.chunk_size)
    options = _options(config, model)
    layers = tuple(options if index in choosing else (linear,) for index in range(model.layers))
    return Space(config.name, model.architecture([choice[0] for choice in layers], vocab_size), layers)


def _options(config: SpaceConfig, model: ModelConfig) -> tuple[Layer, ...]:
    """Return a layer for each operation, and for mixers with a router for each chunk size."""
    chunk_sizes = [model.chunk_size] if config.chunk_sizes is None else config.chunk_sizes
    for name, given in (("operations", config.operations), ("chunk_sizes", chunk_sizes)):
        if not given or len(set(given)) < len(given):
            raise ValueError(f"space.{name}={list(given)} is not allowed; give one or more values, each once.")
    for operation in config.operations:
        if not known(operation):
            raise ValueError(f"space.operations has {operation}, which is unknown; choose from: {allowed()}.")
    for chunk_size in chunk_sizes:
        if chunk_size < 1:
            raise ValueError(f"space.chunk_sizes has {chunk_size}; give numbers of tokens of at least 1.")
    return tuple(
        Layer(operation, chunk_size)
        for operation in config.operations
        for chunk_size in (chunk_sizes if len(operations_of(operation)) > 1 else [model.chunk_size])
    )
