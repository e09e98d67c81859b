"""A search space: a set of architectures of the same sizes, with one of several options in each layer."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Protocol, Self

from nas.search_spaces.architecture import Architecture, Layer

Code = tuple[int, ...]
"""An architecture of a space, as the index of each layer's option."""


class Trial(Protocol):
    """The part of an Optuna trial that `Space.suggest` uses."""

    def suggest_categorical(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of the choices."""
        ...


@dataclass(frozen=True)
class Space:
    """The options of each layer.

    All random numbers come from a generator of the caller, so that a seed determines the result.

    Attributes:
        name: name of the space.
        sizes: an architecture with the sizes of the space; its layers are not used.
        options: options of each layer, first to last; a layer is searchable if it has more than one.

    Raises:
        ValueError: a layer has no option, or the same option twice.

    >>> from nas.search_spaces.architecture import Architecture, Layer
    >>> sizes = Architecture(
    ...     vocab_size=9, width=8, layers=(Layer("linear", 4),) * 2, linear_heads=1, key_dim=4, value_dim=4,
    ...     softmax_heads=1, routing_heads=1, mlp_width=8,
    ... )
    >>> space = Space("layer_hybrid", sizes, ((Layer("softmax", 4), Layer("linear", 4)),) * 2)
    >>> space.size, space.decode((0, 1)).mixers, space.encode(space.decode((0, 1)))
    (4, ('softmax', 'linear'), (0, 1))
    """

    name: str
    sizes: Architecture
    options: tuple[tuple[Layer, ...], ...]

    def __post_init__(self) -> None:
        if len(self.options) != len(self.sizes.layers):
            raise ValueError(f"options has {len(self.options)} layers; the model has {len(self.sizes.layers)}.")
        for layer, options in enumerate(self.options):
            if not options or len(set(options)) < len(options):
                raise ValueError(f"options[{layer}]={options} is not allowed; give each layer options, each once.")

    @classmethod
    def of(cls, architecture: Architecture) -> Self:
        """Return the space that contains a single architecture."""
        return cls("architecture", architecture, tuple((layer,) for layer in architecture.layers))

    def alone(self, code: Code) -> "Space":
        """Return the space that contains one architecture of this one, under its name."""
        architecture = self.decode(code)
        return Space(self.name, architecture, tuple((layer,) for layer in architecture.layers))

    @property
    def size(self) -> int:
        """Number of architectures."""
        return math.prod(map(len, self.options))

    @property
    def choosing(self) -> tuple[int, ...]:
        """Indices of the searchable layers, which have more than one option."""
        return tuple(index for index, options in enumerate(self.options) if len(options) > 1)

    @property
    def routed(self) -> tuple[int, ...]:
        """Indices of the layers that have a router in at least one option."""
        return tuple(index for index, options in enumerate(self.options) if any(o.routed for o in options))

    def codes(self) -> Iterator[Code]:
        """Return an iterator over all codes in lexicographic order; there are `size` of them."""
        return product(*(range(len(options)) for options in self.options))

    def decode(self, code: Code) -> Architecture:
        """Return the architecture of a code; raise a ValueError if the code is not of this space."""
        if len(code) != len(self.options) or any(
            not 0 <= index < len(options) for index, options in zip(code, self.options, strict=True)
        ):
            raise ValueError(f"code {code} is not of {self.name}, whose layers have {self._counts()} options.")
        return self.sizes.with_layers([options[index] for index, options in zip(code, self.options, strict=True)])

    def names(self, code: Code) -> tuple[str, ...]:
        """Return the name of each layer's option in an architecture, see `option_name`."""
        return tuple(option_name(options[index]) for options, index in zip(self.options, code, strict=True))

    def encode(self, architecture: Architecture) -> Code:
        """Return the code of an architecture; raise a ValueError if it is not of this space."""
        try:
            code = tuple(options.index(layer) for layer, options in zip(architecture.layers, self.options, strict=True))
        except ValueError:
            code = ()
        if not code or self.decode(code) != architecture:
            raise ValueError(f"{architecture} is not an architecture of {self.name}.")
        return code

    def sample(self, random: random.Random) -> Architecture:
        """Draw an architecture uniformly."""
        return self.decode(tuple(random.randrange(len(options)) for options in self.options))

    def mutate(self, architecture: Architecture, random: random.Random) -> Architecture:
        """Draw a layer, then another option of it (Real et al. 2019); the same architecture if there is no other."""
        if not self.choosing:
            return architecture
        layer = random.choice(self.choosing)
        code = self.encode(architecture)
        others = [index for index in range(len(self.options[layer])) if index != code[layer]]
        return self.decode((*code[:layer], random.choice(others), *code[layer + 1 :]))

    def suggest(self, trial: Trial) -> Architecture:
        """Return the suggestion of an Optuna sampler: a parameter ``layer_<index>`` for each searchable layer."""
        code = [0] * len(self.options)
        for layer in self.choosing:
            names = tuple(map(option_name, self.options[layer]))
            code[layer] = names.index(trial.suggest_categorical(f"layer_{layer}", names))
        return self.decode(tuple(code))

    def _counts(self) -> str:
        return ", ".join(str(len(options)) for options in self.options)


def option_name(layer: Layer) -> str:
    """Return the name of an option: mixer, chunk size if it has a router, MLP width if it differs from the model's."""
    name = f"{layer.mixer}@{layer.chunk_size}" if layer.routed else layer.mixer
    return name if layer.mlp_width is None else f"{name},mlp={layer.mlp_width}"
