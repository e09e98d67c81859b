"""Options of search spaces and of model sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import MISSING

from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.options import option


@dataclass
class SpaceConfig:
    """Options of a search space.

    name: module in search_spaces, or a plugin's name; route_grad: gradient of routes, "full" or "selected"; operations:
    mixers of a searchable layer; chunk_sizes: chunk sizes of mixers with a router, null for the model's; tiny_layers:
    number of layers of the model tiny.
    """

    name: str = MISSING
    route_grad: str = MISSING
    operations: list[str] = MISSING
    chunk_sizes: list[int] | None = None
    tiny_layers: int = MISSING


@dataclass
class ModelConfig:
    """Sizes of the language model; see `nas.search_spaces.architecture.Architecture` for the fields they become.

    routed_layers: indices of the layers with a router in the token_hybrid space, null for all; other layers are linear.
    """

    name: str = MISSING
    layers: int = option(at_least=1)
    routed_layers: list[int] | None = None
    width: int = MISSING
    linear_heads: int = MISSING
    key_dim: int = MISSING
    value_dim: int = MISSING
    softmax_heads: int = MISSING
    routing_heads: int = MISSING
    chunk_size: int = option(at_least=1)
    mlp_width: int = MISSING
    conv_size: int = MISSING
    tie_embeddings: bool = MISSING
    rope_base: float | None = None
    negative_eigenvalues: bool = False
    window: int = 128

    def architecture(self, layers: Sequence[Layer], vocab_size: int, **changed: Any) -> Architecture:
        """Return the architecture of these sizes and layers.

        Args:
            layers: layers, first to last.
            vocab_size: number of token ids.
            changed: fields of the architecture that override these sizes.

        Raises:
            ValueError: sizes do not fit; the message names the option.
        """
        given = {field.name for field in fields(Architecture)} & vars(self).keys() - {"layers"}
        sizes = {name: getattr(self, name) for name in given} | changed
        try:
            return Architecture(**sizes, layers=tuple(layers), vocab_size=vocab_size)
        except ValueError as error:
            raise ValueError(f"model.{error}") from error
