"""What a pretrained model fixes beside its sizes: its block structure, attention and positions; JSON in and out.

An `nas.search_spaces.architecture.Architecture` with a backbone describes a model that starts from the weights of
another library. Its operation `softmax` is the attention of the original.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Self, get_args

NormPlaces = Literal["pre", "post", "both"]
QKNorm = Literal["head", "layer"]
Activation = Literal["silu", "gelu_tanh"]
Scaling = Literal["default", "linear", "dynamic", "yarn", "llama3"]
FULL, SLIDING = "softmax", "window"
"""Operations of layers of pretrained models: attention to all tokens, and to those of a window."""
NORMS, QK_NORMS, ACTIVATIONS, SCALINGS = map(get_args, (NormPlaces, QKNorm, Activation, Scaling))


@dataclass(frozen=True)
class Rope:
    """Rotary positions of a layer, with the scaling by which their context was extended.

    Attributes:
        base: base of the wavelengths (Su et al. 2021).
        scaling: "linear" (Chen et al. 2023), "dynamic" (equal to "default" within the context), "yarn" (Peng et al.
            2023) or "llama3" (Grattafiori et al. 2024); "default" for none.
        factor: ratio of the extended context to the original one.
        original_length: context before the extension, in tokens; of yarn and llama3.
        low_frequency, high_frequency: rotations within the original context below which llama3 divides frequencies by
            the factor, and above which it keeps them.
        beta_slow, beta_fast: the same for yarn.
        attention_factor: factor on rotated queries and keys; of yarn.
        truncate: whether yarn rounds its range of channels outwards.
    """

    base: float
    scaling: Scaling = "default"
    factor: float = 1.0
    original_length: int | None = None
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    beta_slow: float = 1.0
    beta_fast: float = 32.0
    attention_factor: float = 1.0
    truncate: bool = True

    def __post_init__(self) -> None:
        _check_choice("scaling", self.scaling, SCALINGS)
        for name in ("base", "factor", "low_frequency", "high_frequency", "beta_slow", "beta_fast", "attention_factor"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise ValueError(f"{name}={value!r} is not allowed; it must be a number over 0.")
        if self.scaling in ("yarn", "llama3"):
            _check_count("original_length", self.original_length)


@dataclass(frozen=True)
class Backbone:
    """The structure of a pretrained model.

    Attributes:
        family: name of the family, as in the field model_type of its config.json.
        mixers: operation of each layer of the original, "softmax" or "window".
        ropes: rotary positions of each layer. They belong to the layer, whatever its operation becomes.
        key_value_heads: heads of keys and values; divides the heads of queries.
        context: largest number of tokens for which the positions of the original are made.
        norms: whether a layer's norms are before the mixer and the MLP, after them, or both.
        qk_norm: RMS norm of queries and keys, of each head or of all channels of a layer; None for none.
        qkv_bias: whether the projections of queries, keys and values have biases.
        out_bias: whether the output projection has a bias.
        activation: activation of the gate of the MLP.
        norm_eps: eps of all norms.
        score_scale: factor on the products of queries and keys; None for 1 / sqrt(key_dim).
        embedding_scale: factor on embedded tokens.

    Raises:
        ValueError: a field is not allowed; the message names it.
    """

    family: str
    mixers: tuple[str, ...]
    ropes: tuple[Rope, ...]
    key_value_heads: int
    context: int
    norms: NormPlaces = "pre"
    qk_norm: QKNorm | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    activation: Activation = "silu"
    norm_eps: float = 1e-6
    score_scale: float | None = None
    embedding_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("key_value_heads", "context"):
            _check_count(name, getattr(self, name))
        _check_choice("norms", self.norms, NORMS)
        _check_choice("activation", self.activation, ACTIVATIONS)
        if self.qk_norm is not None:
            _check_choice("qk_norm", self.qk_norm, QK_NORMS)
        for mixer in self.mixers:
            _check_choice("mixers", mixer, (FULL, SLIDING))
        if not self.mixers or len(self.mixers) != len(self.ropes):
            raise ValueError(f"mixers has {len(self.mixers)} layers and ropes {len(self.ropes)}; give equally many.")

    @property
    def sliding(self) -> frozenset[int]:
        """The sliding layers."""
        return frozenset(index for index, mixer in enumerate(self.mixers) if mixer == SLIDING)

    def own(self, mixer: str, index: int) -> str:
        """Return a mixer of a layer. In place of attention to all tokens it is the attention of the original layer."""
        return self.mixers[index] if mixer == FULL and index in self.sliding else mixer

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """Return the backbone of a dict from ``dataclasses.asdict``; ValueError for a wrong, missing or unknown field.

        JSON has lists in place of tuples.
        """
        values = _known(cls, given, "a backbone")
        if not isinstance(values["mixers"], list | tuple) or not isinstance(values["ropes"], list | tuple):
            raise ValueError("mixers and ropes of a backbone must be lists, with one entry for each layer.")
        ropes = tuple(Rope(**_known(Rope, rope, "an entry of ropes")) for rope in values["ropes"])
        return cls(**values | {"mixers": tuple(values["mixers"]), "ropes": ropes})


def attention_weights(width: int, heads: int, key_dim: int, backbone: Backbone) -> int:
    """Return the number of weights of the original attention of a layer.

    Args:
        width: size of the residual stream.
        heads: heads of queries.
        key_dim: size of a head.
        backbone: structure of the model.
    """
    queries, keys = heads * key_dim, backbone.key_value_heads * key_dim
    weights = 2 * width * (queries + keys)
    weights += (queries + 2 * keys if backbone.qkv_bias else 0) + (width if backbone.out_bias else 0)
    norms = {None: 0, "head": 2 * key_dim, "layer": queries + keys}
    return weights + norms[backbone.qk_norm]


def _known(cls: Any, given: Any, what: str) -> dict[str, Any]:
    """Return a dict that has the required fields of a dataclass and no unknown ones."""
    own = fields(cls)
    required = {field.name for field in own if field.default is MISSING}
    if not isinstance(given, Mapping) or not required <= given.keys() <= {field.name for field in own}:
        names = ", ".join(field.name for field in own)
        raise ValueError(f"{given!r} is not {what}, which needs {', '.join(sorted(required))}, of: {names}.")
    for field in own:
        if field.type in (bool, "bool") and not isinstance(given.get(field.name, False), bool):
            raise ValueError(f"{field.name}={given[field.name]!r} is not allowed; it must be true or false.")
    return dict(given)


def _check_choice(name: str, given: object, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ValueError(f"{name}={given!r} is unknown; choose from: {', '.join(choices)}.")


def _check_count(name: str, given: object) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"{name}={given!r} is not allowed; it must be an integer of at least 1.")
