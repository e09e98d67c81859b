"""Options of search spaces and of model sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from nas.search_spaces.architecture import Architecture, Layer
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
    tiny_layers: int = option("layers of model=tiny", at_least=1, ceiling=1000)


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
