"""What can be searched: one module a space, each with ``space(config, model, vocab_size) -> Space``.

The config of a space (a file in conf/space) names its module; nothing else has to know it.
"""

from importlib import import_module

from nas.config import ModelConfig, SpaceConfig, choices
from nas.space import Space


def names() -> list[str]:
    """The search spaces there are."""
    return choices("space").split(", ")


def build(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """The space of a config; UserError where its options cannot work."""
    found: Space = import_module(f"search_spaces.{config.name}").space(config, model, vocab_size)
    return found
