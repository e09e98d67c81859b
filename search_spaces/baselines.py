"""Hybrids that people design by hand, by name: what a search is measured against."""

from collections.abc import Callable
from typing import Any

from nas.search_spaces.architecture import MIXERS, Architecture, GivenRouting, Layer, Mixer
from nas.search_spaces.config import ModelConfig
from nas.search_spaces.layers import routed_layers

Pattern = Callable[[int], list[Mixer]]
"""Number of layers to the mixer of each."""


def interleaved(linear: int) -> Pattern:
    """``linear`` linear layers, then one of softmax, over and over (as in Jamba, Lieber et al. 2024)."""

    def pattern(layers: int) -> list[Mixer]:
        if layers <= linear:
            raise ValueError(
                f"architecture=interleaved_{linear}_1 has its first softmax layer behind {linear} linear ones, but "
                f"model.layers={layers}; give at least {linear + 1}."
            )
        return ["softmax" if index % (linear + 1) == linear else "linear" for index in range(layers)]

    return pattern


def everywhere(mixer: Mixer) -> Pattern:
    """One mixer in every layer."""
    return lambda layers: [mixer] * layers


def nats_l(layers: int) -> list[Mixer]:
    """Routers in every fourth layer and the last, the others linear (Deng et al. 2026: 3, 7, 11, 15, 19, 20 of 21)."""
    return ["token_hybrid" if index % 4 == 3 or index == layers - 1 else "linear" for index in range(layers)]


PATTERNS: dict[str, Pattern] = {
    "softmax": everywhere("softmax"),
    "softmax_rope": everywhere("softmax"),
    "linear": everywhere("linear"),
    "token_hybrid": everywhere("token_hybrid"),
    "interleaved_1_1": interleaved(1),
    "interleaved_3_1": interleaved(3),
    "interleaved_7_1": interleaved(7),
    "nats_l": nats_l,
    "random_routing": everywhere("token_hybrid"),
    "strided_routing": everywhere("token_hybrid"),
}
ROUTED = ("token_hybrid", "random_routing", "strided_routing")
"""Those that route where a search does: in ``model.routed_layers``; their other layers are linear."""
GIVEN: dict[str, GivenRouting] = {"random_routing": "random", "strided_routing": "strided"}
"""Those in which content does not decide which chunks go to softmax."""
ROPE_BASE = 10000.0
"""Of softmax_rope where the model says nothing else (Su et al. 2021)."""


def names() -> list[str]:
    """The hand-designed hybrids there are."""
    return list(PATTERNS)


def build(name: str, model: ModelConfig, vocab_size: int, given_share: float) -> Architecture | None:
    """The hand-designed hybrid of a name, in the sizes of ``model``; None where no hybrid has this name.

    Args:
        name: one of `names`, or the mixer of each layer, joined by hyphens: linear-softmax-linear-softmax.
        model: sizes.
        vocab_size: number of token ids.
        given_share: share of softmax chunks of random_routing and strided_routing, in the layers that route.
    """
    if name in PATTERNS:
        mixers = PATTERNS[name](model.layers)
        if name in ROUTED:
            routed = routed_layers(model)
            mixers = [mixer if layer in routed else "linear" for layer, mixer in enumerate(mixers)]
    elif set(given := name.split("-")) <= set(MIXERS):
        mixers = given  # type: ignore[assignment]
        if len(mixers) != model.layers:
            raise ValueError(
                f"architecture={name} has {len(mixers)} layers, but model.layers={model.layers}; give as many."
            )
    else:
        return None
    layers = [Layer(mixer, model.chunk_size) for mixer in mixers]
    changed: dict[str, Any] = {}
    if name in GIVEN:
        changed = {"given_routing": GIVEN[name], "given_share": given_share}
    if name == "softmax_rope" and model.rope_base is None:
        changed = {"rope_base": ROPE_BASE}
    return model.architecture(layers, vocab_size, **changed)
