"""An `Architecture` describes one language model completely: frozen, hashable, checked, JSON in and out."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple, Self, get_args

from nas.search_spaces.backbone import Backbone
from nas.search_spaces.operations import allowed, known, operations_of

GivenRouting = Literal["random", "strided"]
GIVEN_ROUTINGS: tuple[str, ...] = get_args(GivenRouting)
ROUTER_FEATURES = ("mean", "max", "last")
"""What a router can read of a chunk: the mean or the largest value of each channel, or the last token."""


class Layer(NamedTuple):
    """The properties in which layers can differ.

    Attributes:
        mixer: name of an operation, or of a mixer with a router (`nas.search_spaces.operations`).
        chunk_size: tokens of a chunk, the grain of routing.
        mlp_width: hidden size of the layer's SwiGLU; None for the architecture's ``mlp_width``.
    """

    mixer: str
    chunk_size: int
    mlp_width: int | None = None

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations of the mixer: a single one, or the operations between which its router chooses."""
        return operations_of(self.mixer)

    @property
    def routed(self) -> bool:
        """Whether a router chooses between several operations."""
        return len(self.operations) > 1


@dataclass(frozen=True)
class Architecture:
    """A decoder-only language model whose layers mix tokens by softmax attention, Gated DeltaNet, or both.

    All layers have projections of the same size: linear_heads * key_dim channels for queries and keys, and
    linear_heads * value_dim for values. The softmax branch may split these channels into more heads.

    Attributes:
        vocab_size: number of token ids.
        width: size of the residual stream.
        layers: mixer, chunk size and MLP width of each layer, first to last.
        linear_heads: heads of the linear branch.
        key_dim: key size of a linear head.
        value_dim: value size of a linear head.
        softmax_heads: heads of the softmax branch; a multiple of linear_heads.
        routing_heads: routing heads of a layer; divides linear_heads.
        mlp_width: hidden size of the SwiGLU.
        conv_size: kernel of the causal convolutions on q, k and v.
        tie_embeddings: whether the head shares the embedding's weights.
        rope_base: base of the rotary position encoding of queries and keys in softmax attention (`nas.models.rotary`);
            None for no position encoding.
        log_n: whether softmax attention has a log-n temperature: its logits are multiplied by a learnt factor and the
            logarithm of the number of keys (Scalable-Softmax; Nakanishi 2025, arXiv 2501.19399).
        negative_eigenvalues: whether the write strength of linear attention ranges up to 2 instead of 1. Its state
            transitions may then have negative eigenvalues, which tracking states requires (Grazzi et al. 2025, arXiv
            2411.12537).
        given_routing: routing that does not depend on content: "random", or "strided" at fixed positions, the same in
            every layer and head (`nas.models.policies.policy_of`); None if routers decide.
        given_share: softmax share of the given routing, in [0, 1]; None if and only if given_routing is None.
        router_features: what routers read of a chunk: one of `ROUTER_FEATURES`, or several with + between them, which
            are concatenated.
        window: tokens that the operation ``window`` attends to, including the token itself.
        backbone: structure of the pretrained model whose weights the model starts from; None for a model of this
            project. With a backbone, softmax_heads and linear_heads are its heads of queries, key_dim and value_dim its
            size of a head, and layers have no short convolutions and no output gate.

    Raises:
        ValueError: a field is not allowed, or two fields do not fit; the message names them.
    """

    vocab_size: int
    width: int
    layers: tuple[Layer, ...]
    linear_heads: int
    key_dim: int
    value_dim: int
    softmax_heads: int
    routing_heads: int
    mlp_width: int
    conv_size: int = 4
    tie_embeddings: bool = False
    rope_base: float | None = None
    negative_eigenvalues: bool = False
    given_routing: GivenRouting | None = None
    given_share: float | None = None
    window: int = 128
    log_n: bool = False
    router_features: str = "mean"
    backbone: Backbone | None = None

    def __post_init__(self) -> None:
        self._check_layers()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (int, "int") and not _is_count(value):
                raise ValueError(f"{field.name}={value!r} is not allowed; it must be an integer of at least 1.")
        for name in ("tie_embeddings", "negative_eigenvalues", "log_n"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name}={value!r} is not allowed; it must be true or false.")
        self._check_router_features()
        self._check_given_routing()
        self._check_divides("linear_heads", "softmax_heads")
        self._check_divides("routing_heads", "linear_heads")
        split = self.softmax_heads // self.linear_heads
        for name in ("key_dim", "value_dim"):
            if getattr(self, name) % split:
                raise ValueError(
                    f"{name}={getattr(self, name)} does not divide over softmax_heads / linear_heads = {split}; "
                    f"choose a multiple of {split}, or other heads."
                )
        if self.rope_base is not None:
            self._check_rope(self.rope_base, self.key_dim // split)
        if self.backbone is not None:
            self._check_backbone(self.backbone)

    def _check_layers(self) -> None:
        if not isinstance(self.layers, (tuple, list)) or not self.layers:
            raise ValueError(f"layers={self.layers!r} is not allowed; give one or more layers.")
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise ValueError(f"layers has {layer!r}, which is not a Layer; give its mixer and its chunk_size.")
            if not isinstance(layer.mixer, str) or not known(layer.mixer):
                raise ValueError(f"mixers has {layer.mixer!r}, which is unknown; choose from: {allowed()}.")
            if not _is_count(layer.chunk_size):
                raise ValueError(f"chunk_sizes has {layer.chunk_size!r}; give each layer an integer of at least 1.")
            if layer.mlp_width is not None and not _is_count(layer.mlp_width):
                raise ValueError(f"mlp_width={layer.mlp_width!r} is not allowed; it must be an integer of at least 1.")
        object.__setattr__(self, "layers", tuple(self.layers))

    def _check_router_features(self) -> None:
        given = self.router_features
        parts = given.split("+") if isinstance(given, str) else []
        if not parts or not set(parts) <= set(ROUTER_FEATURES) or len(set(parts)) < len(parts):
            raise ValueError(
                f"router_features={given!r} is unknown; give {', '.join(ROUTER_FEATURES)}, or different ones with + "
                "between them."
            )

    def _check_given_routing(self) -> None:
        routing, share = self.given_routing, self.given_share
        if routing is not None and routing not in GIVEN_ROUTINGS:
            raise ValueError(
                f"given_routing={routing!r} is unknown; choose from: {', '.join(GIVEN_ROUTINGS)}, null for routers."
            )
        if (routing is None) != (share is None):
            raise ValueError(f"given_routing={routing!r} and given_share={share!r}; give both or none of them.")
        if share is not None and not (_is_number(share) and 0 <= share <= 1):
            raise ValueError(f"given_share={share!r} is not allowed; it must be from 0 to 1.")

    def _check_rope(self, base: float, key_dim: int) -> None:
        if not (_is_number(base) and base > 0):
            raise ValueError(f"rope_base={base!r} is not allowed; it must be a number over 0, or null.")
        if key_dim % 2:
            raise ValueError(
                f"rope_base={base!r} rotates pairs of channels, but the keys of a softmax head have {key_dim}; choose "
                "key_dim and softmax_heads so that linear_heads * key_dim / softmax_heads is even."
            )

    def _check_backbone(self, backbone: Backbone) -> None:
        if len(self.layers) != len(backbone.mixers):
            raise ValueError(
                f"layers={len(self.layers)} differs from the {len(backbone.mixers)} layers of the pretrained model; "
                "give equally many."
            )
        if self.softmax_heads != self.linear_heads or self.key_dim != self.value_dim or self.key_dim % 2:
            raise ValueError(
                f"softmax_heads={self.softmax_heads}, linear_heads={self.linear_heads}, key_dim={self.key_dim} and "
                f"value_dim={self.value_dim} do not fit a pretrained model, whose heads all have the same even size."
            )
        if self.softmax_heads % backbone.key_value_heads or backbone.key_value_heads % self.routing_heads:
            raise ValueError(
                f"routing_heads={self.routing_heads} must divide the {backbone.key_value_heads} heads of keys and "
                f"values, and these the {self.softmax_heads} heads of queries of the pretrained model."
            )
        for name, none in (("rope_base", None), ("log_n", False)):
            if getattr(self, name) != none:
                raise ValueError(
                    f"{name}={getattr(self, name)} is not allowed with a pretrained model, which has positions of its "
                    f"own; omit {name}."
                )

    def _check_divides(self, small: str, large: str) -> None:
        if getattr(self, large) % getattr(self, small):
            raise ValueError(
                f"{small}={getattr(self, small)} does not divide {large}={getattr(self, large)}; "
                f"choose {small} among the divisors of {getattr(self, large)}."
            )

    @property
    def chunk_size(self) -> int:
        """The chunk size of all layers; ValueError if layers differ."""
        if len(set(self.chunk_sizes)) > 1:
            raise ValueError(
                f"chunk_sizes={self.chunk_sizes} differ, so the model has no single chunk_size; use chunk_sizes."
            )
        return self.chunk_sizes[0]

    @property
    def mixers(self) -> tuple[str, ...]:
        """The mixer of each layer, first to last."""
        return tuple(layer.mixer for layer in self.layers)

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """The chunk size of each layer in tokens, first to last."""
        return tuple(layer.chunk_size for layer in self.layers)

    @property
    def router_reads(self) -> tuple[str, ...]:
        """The features of ``router_features``."""
        return tuple(self.router_features.split("+"))

    def reads(self, vocab_size: int) -> bool:
        """Return whether the model has the token ids of a task. A pretrained model may have more."""
        return self.vocab_size == vocab_size or (self.backbone is not None and self.vocab_size > vocab_size)

    def with_layers(self, layers: Sequence[Layer]) -> Self:
        """Return the architecture with other layers and the same sizes."""
        return replace(self, layers=tuple(layers))

    @property
    def routed_layers(self) -> tuple[int, ...]:
        """Indices of the layers that have a router."""
        return tuple(index for index, layer in enumerate(self.layers) if layer.routed)

    def with_mixer(self, mixer: str) -> Self:
        """Return the architecture with the same mixer in every layer, as in hand-designed baselines."""
        return self.with_layers([layer._replace(mixer=mixer) for layer in self.layers])

    def to_dict(self) -> dict[str, Any]:
        """Return a dict of JSON values."""
        layers = [{k: v for k, v in layer._asdict().items() if v is not None} for layer in self.layers]
        values = asdict(self) | {"layers": layers}
        if self.backbone is None:
            del values["backbone"]
        return values

    def to_json(self) -> str:
        """Return JSON text from which `from_json` makes an equal architecture."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Return the architecture of a dict from `to_dict`.

        Files of versions before 0.2 have two lists, mixers and chunk_sizes, instead of the list of layers.

        Raises:
            ValueError: a field is missing, unknown or wrong; the message names it.
        """
        if not isinstance(given, dict):
            raise ValueError(f"an architecture must be a JSON object, not {type(given).__name__}.")
        given = _with_layers(given)
        known = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if unknown := sorted(given.keys() - known):
            raise ValueError(f"unknown fields {', '.join(unknown)}; an architecture has: {', '.join(sorted(known))}.")
        if missing := sorted(required - given.keys()):
            raise ValueError(
                f"missing fields {', '.join(missing)}; an architecture needs: {', '.join(sorted(required))}."
            )
        backbone = given.get("backbone")
        made = None if backbone is None else Backbone.from_dict(backbone)
        return cls(**given | {"layers": tuple(map(_layer, given["layers"])), "backbone": made})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the architecture of a JSON text; raise a ValueError if the text or a field is wrong."""
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}.") from error
        return cls.from_dict(given)


def _with_layers(given: dict[str, Any]) -> dict[str, Any]:
    """Return the dict of an architecture in the form with a list of layers."""
    if "layers" not in given and {"mixers", "chunk_sizes"} <= given.keys():
        mixers, chunk_sizes = given["mixers"], given["chunk_sizes"]
        given = {name: value for name, value in given.items() if name not in ("mixers", "chunk_sizes")}
        if not isinstance(mixers, list) or not isinstance(chunk_sizes, list) or len(mixers) != len(chunk_sizes):
            raise ValueError(f"mixers={mixers!r} and chunk_sizes={chunk_sizes!r} must be lists of the same length.")
        pairs = zip(mixers, chunk_sizes, strict=True)
        given["layers"] = [{"mixer": mixer, "chunk_size": chunk_size} for mixer, chunk_size in pairs]
    if not isinstance(given.get("layers", []), list):
        raise ValueError(f"layers={given['layers']!r} is not allowed; give a list of layers.")
    return given


def _layer(given: Any) -> Layer:
    if not isinstance(given, dict) or not {"mixer", "chunk_size"} <= given.keys() <= set(Layer._fields):
        raise ValueError(
            f"layers has {given!r}; a layer has the fields {', '.join(Layer._fields)}, the last of which is optional."
        )
    return Layer(**given)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
