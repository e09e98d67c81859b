"""A space in which some layers choose their operation and the width of their MLP."""

from dataclasses import dataclass

from omegaconf import MISSING

from nas.plugins import register_space
from nas.search_spaces.architecture import Layer
from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.space import Space


@dataclass
class WidthsConfig(SpaceConfig):
    """every: layers 0, every, 2 * every, ... choose; mlp_widths: hidden sizes of their MLP."""

    every: int = MISSING
    mlp_widths: list[int] = MISSING


def make(config: WidthsConfig, model: ModelConfig, vocab_size: int) -> Space:
    if config.every < 1:
        raise ValueError(f"space.every={config.every} is too small; give 1 or more.")
    fixed = (Layer("linear", model.chunk_size),)
    free = tuple(Layer(name, model.chunk_size, width) for name in config.operations for width in config.mlp_widths)
    options = tuple(free if layer % config.every == 0 else fixed for layer in range(model.layers))
    return Space(config.name, model.architecture([own[0] for own in options], vocab_size), options)


register_space("theirs", make, WidthsConfig)
