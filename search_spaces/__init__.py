"""Search spaces: one module for each, with a function ``space(config, model, vocab_size) -> Space``.

The config of a space (a YAML file in the group ``space``) names its module. `register` adds a space of a plugin.
Nothing here imports modules of nas outside this folder.
"""

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from nas.search_spaces.config import ModelConfig, SpaceConfig
from nas.search_spaces.space import Space

Make = Callable[[SpaceConfig, ModelConfig, int], Space]
"""Options of the space, sizes of the model and number of token ids to the space; ValueError if they do not fit."""

_added: dict[str, Make] = {}


def register(name: str, make: Make) -> None:
    """Add a space of a plugin; raise a ValueError if the name is taken."""
    if name in names():
        raise ValueError(f"space {name} exists already; choose another name.")
    _added[name] = make


def forget(name: str) -> None:
    """Remove a space that `register` added."""
    del _added[name]


def names() -> list[str]:
    """Return the names of all search spaces, sorted."""
    modules = {info.name for info in iter_modules(__path__)}
    return sorted({name for name in modules if _make(name) is not None} | _added.keys())


def build(config: SpaceConfig, model: ModelConfig, vocab_size: int) -> Space:
    """Build the space of a config.

    Raises:
        ValueError: the space is unknown, or its options do not fit; the message names the option.
    """
    if config.name not in names():
        raise ValueError(f"space.name={config.name} is unknown; choose one of: {', '.join(names())}.")
    make = _make(config.name)
    assert make is not None
    return make(config, model, vocab_size)


def _make(name: str) -> Make | None:
    """Return the function that builds a space; None if the module is not a space."""
    return _added.get(name) or getattr(import_module(f"{__name__}.{name}"), "space", None)
