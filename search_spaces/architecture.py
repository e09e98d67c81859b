"""An `Architecture` describes one language model completely: frozen, hashable, checked, JSON in and out."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple, Self, get_args

Mixer = Literal["softmax", "linear", "token_hybrid"]
MIXERS: tuple[str, ...] = get_args(Mixer)
GivenRouting = Literal["random", "strided"]
GIVEN_ROUTINGS: tuple[str, ...] = get_args(GivenRouting)


class Layer(NamedTuple):
    """What can differ from layer to layer: how tokens are mixed, and in which chunks they are routed."""

    mixer: Mixer
    chunk_size: int


@dataclass(frozen=True)
class Architecture:
    """A decoder-only language model whose layers mix tokens by softmax attention, Gated DeltaNet, or both.

    Every layer has the same projections of linear_heads * key_dim channels for queries and keys and
    linear_heads * value_dim for values. The softmax branch may split the same channels into more heads.

    Attributes:
        vocab_size: number of token ids.
        width: size of the residual stream.
        mixers: the mixer of each layer, first to last.
        linear_heads: heads of the linear branch.
        key_dim: key size of a linear head.
        value_dim: value size of a linear head.
        softmax_heads: heads of the softmax branch; a multiple of linear_heads.
        routing_heads: independent routes in a layer; divides linear_heads.
        chunk_sizes: tokens in a chunk of each layer, the grain of its routing.
        mlp_width: hidden size of the SwiGLU.
        conv_size: kernel of the causal convolutions on q, k and v.
        tie_embeddings: whether the head shares the embedding's weights.
        rope_base: of the rotary position encoding of queries and keys in softmax attention (`nas.models.rotary`); None
            for no encoding of positions.
        negative_eigenvalues: whether linear attention writes with strengths up to 2 rather than 1, so that its state
            transitions may have negative eigenvalues, without which it cannot track states (Grazzi et al. 2025, arXiv
            2411.12537).
        given_routing: which chunks go to softmax whatever their content: "random", or "strided" at fixed positions, the
            same in every layer and head (`nas.models.policies.policy_of`); None where routers decide.
        given_share: the share of them that do; None exactly where given_routing is.

    Raises:
        ValueError: a field is not allowed, or two do not fit; the message names it.
    """

    vocab_size: int
    width: int
    mixers: tuple[Mixer, ...]
    linear_heads: int
    key_dim: int
    value_dim: int
    softmax_heads: int
    routing_heads: int
    chunk_sizes: tuple[int, ...]
    mlp_width: int
    conv_size: int = 4
    tie_embeddings: bool = False
    rope_base: float | None = None
    negative_eigenvalues: bool = False
    given_routing: GivenRouting | None = None
    given_share: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mixers, (tuple, list)) or not self.mixers:
            raise ValueError(
                f"mixers={self.mixers!r} is not allowed; give one mixer a layer, from: {', '.join(MIXERS)}."
            )
        object.__setattr__(self, "mixers", tuple(self.mixers))
        for mixer in self.mixers:
            if mixer not in MIXERS:
                raise ValueError(f"mixers has {mixer!r}, which is unknown; choose from: {', '.join(MIXERS)}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (int, "int") and not _is_count(value):
                raise ValueError(f"{field.name}={value!r} is not allowed; it must be an integer of at least 1.")
        self._check_chunk_sizes()
        for name in ("tie_embeddings", "negative_eigenvalues"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name}={value!r} is not allowed; it must be true or false.")
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

    def _check_chunk_sizes(self) -> None:
        sizes = self.chunk_sizes
        if not isinstance(sizes, (tuple, list)) or not all(map(_is_count, sizes)):
            raise ValueError(f"chunk_sizes={sizes!r} is not allowed; give each layer an integer of at least 1.")
        if len(sizes) != len(self.mixers):
            raise ValueError(
                f"chunk_sizes={sizes!r} has {len(sizes)} layers and mixers {len(self.mixers)}; give as many."
            )
        object.__setattr__(self, "chunk_sizes", tuple(sizes))

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
                f"rope_base={base!r} turns pairs of channels, but a softmax head has keys of {key_dim}; choose key_dim "
                "and softmax_heads so that linear_heads * key_dim / softmax_heads is even."
            )

    def _check_divides(self, small: str, large: str) -> None:
        if getattr(self, large) % getattr(self, small):
            raise ValueError(
                f"{small}={getattr(self, small)} does not divide {large}={getattr(self, large)}; "
                f"choose {small} among the divisors of {getattr(self, large)}."
            )

    @property
    def chunk_size(self) -> int:
        """The chunk size of all layers; ValueError where they differ."""
        if len(set(self.chunk_sizes)) > 1:
            raise ValueError(f"chunk_sizes={self.chunk_sizes} differ, so there is no one chunk_size.")
        return self.chunk_sizes[0]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Mixer and chunk size of each layer, first to last."""
        return tuple(map(Layer, self.mixers, self.chunk_sizes))

    def with_layers(self, layers: Sequence[Layer]) -> Self:
        """The same sizes with these layers."""
        mixers, chunk_sizes = zip(*layers, strict=True)
        return replace(self, mixers=mixers, chunk_sizes=chunk_sizes)

    @property
    def routed_layers(self) -> tuple[int, ...]:
        """Indices of the layers that have a router."""
        return tuple(i for i, mixer in enumerate(self.mixers) if mixer == "token_hybrid")

    def with_mixer(self, mixer: Mixer) -> Self:
        """The same sizes with one mixer in every layer: the hand-designed baselines of the same size."""
        return replace(self, mixers=(mixer,) * len(self.mixers))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of JSON values."""
        return asdict(self) | {"mixers": list(self.mixers), "chunk_sizes": list(self.chunk_sizes)}

    def to_json(self) -> str:
        """JSON text that `from_json` turns back into an equal architecture."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """The architecture of a dict as `to_dict` makes it; ValueError names what is missing, unknown or wrong."""
        if not isinstance(given, dict):
            raise ValueError(f"an architecture must be a JSON object, not {type(given).__name__}.")
        known = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if unknown := sorted(given.keys() - known):
            raise ValueError(f"unknown fields {', '.join(unknown)}; an architecture has: {', '.join(sorted(known))}.")
        if missing := sorted(required - given.keys()):
            raise ValueError(
                f"missing fields {', '.join(missing)}; an architecture needs: {', '.join(sorted(required))}."
            )
        return cls(**given)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The architecture of a JSON text; ValueError says what is wrong with it."""
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}.") from error
        return cls.from_dict(given)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
