"""What can be searched: one module a space, each with ``supernet(model, vocab_size) -> Architecture``.

The config of a space names its module; nothing else has to know it.
"""

from importlib import import_module
from pkgutil import iter_modules

from nas.architecture import Architecture
from nas.config import ModelConfig


def names() -> list[str]:
    """The search spaces there are."""
    return sorted(module.name for module in iter_modules(__path__))


def supernet(space: str, model: ModelConfig, vocab_size: int) -> Architecture:
    """The architecture whose weights every element of the space shares."""
    found: Architecture = import_module(f"search_spaces.{space}").supernet(model, vocab_size)
    return found
