"""Searchable layers and their options, for the layer-wise spaces."""

from collections.abc import Sequence

from nas.search_spaces.architecture import Layer
from nas.search_spaces.config import ModelConfig, SpaceConfig, as_original
from nas.search_spaces.operations import allowed, known, operations_of
from nas.search_spaces.space import Space


def routed_layers(model: ModelConfig) -> tuple[int, ...]:
    """Return ``model.routed_layers``, or all layers if it is null; raise a ValueError for a missing layer.

    Sliding layers of a pretrained model have no router: softmax attention over all tokens is none of their operations.
    """
    sliding = _sliding(model)
    if model.routed_layers is None:
        return tuple(layer for layer in range(model.layers) if layer not in sliding)
    for layer in model.routed_layers:
        if not 0 <= layer < model.layers:
            raise ValueError(f"model.routed_layers has {layer}; the model has layers 0 to {model.layers - 1}.")
        if layer in sliding:
            raise ValueError(
                f"model.routed_layers has {layer}, a sliding layer of the pretrained model; give layers of: "
                f"{', '.join(str(full) for full in range(model.layers) if full not in sliding)}."
            )
    return tuple(model.routed_layers)


def refuse_layers(config: SpaceConfig) -> None:
    """Raise a ValueError if ``space.layers`` is given to a space whose layers follow from ``model.routed_layers``."""
    if config.layers is not None:
        raise ValueError(
            f"space.layers has no effect in {config.name}; give model.routed_layers={list(config.layers)}."
        )


def searchable_layers(config: SpaceConfig, model: ModelConfig) -> Sequence[int]:
    """Return ``space.layers``, or all layers if it is null; raise a ValueError for a missing or a repeated layer."""
    if config.layers is None:
        return range(model.layers)
    if not config.layers or len(set(config.layers)) < len(config.layers):
        raise ValueError(f"space.layers={list(config.layers)} is not allowed; give one or more layers, each once.")
    for layer in config.layers:
        if not 0 <= layer < model.layers:
            raise ValueError(f"space.layers has {layer}; the model has layers 0 to {model.layers - 1}.")
    return config.layers


def _sliding(model: ModelConfig) -> frozenset[int]:
    """Return the sliding layers of a pretrained model."""
    structure = model.structure
    return frozenset() if structure is None else structure.sliding


def layerwise(config: SpaceConfig, model: ModelConfig, vocab_size: int, choosing: Sequence[int]) -> Space:
    """Return the space with every option of the config in the layers ``choosing``.

    Other layers are linear, or as in the pretrained model. In its sliding layers, softmax is its attention over a
    window, and there are no routers.
    """
    options, sliding = _options(config, model), _sliding(model)
    layers = tuple(
        (Layer(model.unsearched(index), model.chunk_size),)
        if index not in choosing
        else _in_sliding(options, index, model)
        if index in sliding
        else options
        for index in range(model.layers)
    )
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


def _in_sliding(options: tuple[Layer, ...], index: int, model: ModelConfig) -> tuple[Layer, ...]:
    """Return the options of a sliding layer of a pretrained model; its own operation if none is left."""
    own = (as_original(option, index, model.structure) for option in options if not option.routed)
    return tuple(dict.fromkeys(own)) or (Layer(model.unsearched(index), model.chunk_size),)
