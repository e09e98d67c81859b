"""A search space: a set of architectures of the same sizes, which in each layer choose one of a few options."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Protocol, Self

from nas.search_spaces.architecture import Architecture, Layer

Code = tuple[int, ...]
"""An architecture of a space: the index of the option that each layer took."""


class Trial(Protocol):
    """What `Space.suggest` needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: tuple[str, ...]) -> str:
        """One of the choices."""
        ...


@dataclass(frozen=True)
class Space:
    """What can be chosen, layer by layer.

    Everything random is drawn from a generator that the caller gives, so that a seed decides it.

    Attributes:
        name: of its file in search_spaces.
        sizes: any architecture of these sizes; its layers do not matter.
        options: of each layer, first to last; a layer with one option has nothing to choose.

    Raises:
        ValueError: a layer has no option, or one twice.

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
        """The space of one architecture: nothing to choose."""
        return cls("architecture", architecture, tuple((layer,) for layer in architecture.layers))

    @property
    def size(self) -> int:
        """How many architectures there are."""
        return math.prod(map(len, self.options))

    @property
    def choosing(self) -> tuple[int, ...]:
        """Indices of the layers that have a choice."""
        return tuple(index for index, options in enumerate(self.options) if len(options) > 1)

    @property
    def routed(self) -> tuple[int, ...]:
        """Indices of the layers that have a router in at least one option."""
        return tuple(index for index, options in enumerate(self.options) if any(o.routed for o in options))

    def codes(self) -> Iterator[Code]:
        """Every code, in order: many, where `size` is large."""
        return product(*(range(len(options)) for options in self.options))

    def decode(self, code: Code) -> Architecture:
        """The architecture of a code; ValueError where it has none."""
        if len(code) != len(self.options) or any(
            not 0 <= index < len(options) for index, options in zip(code, self.options, strict=True)
        ):
            raise ValueError(f"code {code} is not of {self.name}, whose layers have {self._counts()} options.")
        return self.sizes.with_layers([options[index] for index, options in zip(code, self.options, strict=True)])

    def encode(self, architecture: Architecture) -> Code:
        """The code of an architecture; ValueError where it is not of this space."""
        try:
            code = tuple(options.index(layer) for layer, options in zip(architecture.layers, self.options, strict=True))
        except ValueError:
            code = ()
        if not code or self.decode(code) != architecture:
            raise ValueError(f"{architecture} is not an architecture of {self.name}.")
        return code

    def sample(self, random: random.Random) -> Architecture:
        """One drawn uniformly."""
        return self.decode(tuple(random.randrange(len(options)) for options in self.options))

    def mutate(self, architecture: Architecture, random: random.Random) -> Architecture:
        """Return the architecture with another option in one layer, drawn layer first (Real et al. 2019).

        Without a layer that has a choice, the architecture stays the same.
        """
        if not self.choosing:
            return architecture
        layer = random.choice(self.choosing)
        code = self.encode(architecture)
        others = [index for index in range(len(self.options[layer])) if index != code[layer]]
        return self.decode((*code[:layer], random.choice(others), *code[layer + 1 :]))

    def suggest(self, trial: Trial) -> Architecture:
        """One that an Optuna sampler chooses: a categorical parameter ``layer_<index>`` for each choice."""
        code = [0] * len(self.options)
        for layer in self.choosing:
            names = tuple(map(option_name, self.options[layer]))
            code[layer] = names.index(trial.suggest_categorical(f"layer_{layer}", names))
        return self.decode(tuple(code))

    def _counts(self) -> str:
        return ", ".join(str(len(options)) for options in self.options)


def option_name(layer: Layer) -> str:
    """An option as people read it: the mixer, its chunk size if it has a router, its MLP width if it has its own."""
    name = f"{layer.mixer}@{layer.chunk_size}" if layer.routed else layer.mixer
    return name if layer.mlp_width is None else f"{name},mlp={layer.mlp_width}"
