"""Options of search spaces and of model sizes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.backbone import Backbone
from nas.search_spaces.options import option


@dataclass
class SpaceConfig:
    """Options of a search space."""

    name: str = option("space, which `+space=` selects")
    route_grad: str = option("gradient of routes: full, or selected (none for skipped chunks: faster, learns less)")
    operations: list[str] = option("mixers of a searchable layer")
    chunk_sizes: list[int] | None = option(
        "chunk sizes of mixers with a router, in tokens; null: model.chunk_size",
        default=None,
        at_least=1,
        ceiling=10**9,
    )
    placement: float | None = option(
        "softmax share up to which a routed layer becomes linear at budget.settle_from, and softmax from 1 minus it on",
        default=None,
        at_least=0,
        at_most=0.5,
    )
    feature_grad: str = option(
        "gradient of what routers read: full, or none (layers do not learn to be routed)", default="full"
    )
    tiny_layers: int = option("layers of model=tiny", at_least=1, ceiling=1000)
    layers: list[int] | None = option(
        "indices of the searchable layers of layer_hybrid and joint, null: all; other layers are linear",
        default=None,
        at_least=0,
        ceiling=999,
    )


@dataclass
class ModelConfig:
    """Sizes of the language model; see `nas.search_spaces.architecture.Architecture` for the fields they become."""

    name: str = option("name of these sizes, which `model=` selects")
    layers: int = option("number of layers", at_least=1, ceiling=1000)
    routed_layers: list[int] | None = option(
        "indices of the layers with a router in the token_hybrid space, null: all; other layers are linear",
        default=None,
        at_least=0,
        ceiling=999,
    )
    width: int = option("size of the residual stream", at_least=1, ceiling=10**6)
    linear_heads: int = option("heads of linear attention", at_least=1, ceiling=10**4)
    key_dim: int = option("key size of a linear head", at_least=1, ceiling=10**5)
    value_dim: int = option("value size of a linear head", at_least=1, ceiling=10**5)
    softmax_heads: int = option("heads of softmax attention; a multiple of linear_heads", at_least=1, ceiling=10**4)
    routing_heads: int = option("routing heads of a layer; divides linear_heads", at_least=1, ceiling=10**4)
    chunk_size: int = option("tokens of a chunk, which a router sends to one operation", at_least=1, ceiling=10**9)
    mlp_width: int = option("hidden size of the SwiGLU", at_least=1, ceiling=10**7)
    conv_size: int = option("kernel of the short convolutions on q, k and v", at_least=1, ceiling=10**4)
    tie_embeddings: bool = option("whether the head shares the embedding's weights")
    rope_base: float | None = option(
        "base of rotary positions in softmax attention, 10000 for example; null: none",
        default=None,
        above=0,
        ceiling=1e12,
    )
    log_n: bool = option(
        "whether logits of softmax attention grow with the logarithm of the number of keys", default=False
    )
    router_features: str = option(
        "what routers read of a chunk: mean, max or last (token), or several of them as in mean+max+last",
        default="mean",
    )
    negative_eigenvalues: bool = option("whether linear attention can track states", default=False)
    window: int = option("tokens that the operation window attends to", default=128, at_least=1, ceiling=10**9)
    path: str | None = option(
        "folder of a pretrained model with config.json and weights in safetensors; for model=pretrained",
        default=None,
    )
    stock: bool = option(
        "whether a search keeps to layers of a family of transformers, so that nas.export needs no code",
        default=False,
    )
    vocab_size: int | None = option(
        "token ids of a pretrained model, set by the command; null: those of the data",
        default=None,
        at_least=1,
        ceiling=10**8,
    )
    backbone: str | None = option("structure of a pretrained model as JSON, set by the command", default=None)

    @property
    def structure(self) -> Backbone | None:
        """The structure of the pretrained model; None for a model of this project."""
        return None if self.backbone is None else Backbone.from_dict(json.loads(self.backbone))

    def unsearched(self, layer: int) -> str:
        """Return the mixer of a layer that a space does not search: linear, or that of the pretrained model."""
        structure = self.structure
        return "linear" if structure is None else structure.mixers[layer]

    def architecture(self, layers: Sequence[Layer], vocab_size: int, **changed: Any) -> Architecture:
        """Return the architecture of these sizes and layers.

        In a sliding layer of a pretrained model, the mixer softmax is its attention over a window.

        Args:
            layers: layers, first to last.
            vocab_size: number of token ids.
            changed: fields of the architecture that override these sizes.

        Raises:
            ValueError: sizes do not fit; the message names the option.
        """
        own = {"layers", "vocab_size", "backbone"}
        given = {field.name for field in fields(Architecture)} & vars(self).keys() - own
        sizes = {name: getattr(self, name) for name in given} | changed
        if self.vocab_size is not None and self.vocab_size < vocab_size:
            raise ValueError(
                f"model.path={self.path} has {self.vocab_size} token ids, but the data has {vocab_size}; give data "
                "that was prepared with the tokenizer of the model."
            )
        try:
            return Architecture(
                **sizes,
                layers=tuple(as_original(layer, index, self.structure) for index, layer in enumerate(layers)),
                vocab_size=self.vocab_size or vocab_size,
                backbone=self.structure,
            )
        except ValueError as error:
            raise ValueError(f"model.{error}") from error


def as_original(layer: Layer, index: int, structure: Backbone | None) -> Layer:
    """Return a layer whose mixer softmax is replaced by that of the pretrained model."""
    return layer if structure is None else layer._replace(mixer=structure.own(layer.mixer, index))
