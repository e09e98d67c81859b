"""Hand-designed hybrids by name: the baselines of a search."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas.search_spaces.architecture import Architecture, GivenRouting, Layer
from nas.search_spaces.config import ModelConfig
from nas.search_spaces.layers import routed_layers
from nas.search_spaces.operations import known
from nas.search_spaces.placements import spelled

Pattern = Callable[[int], list[str]]
"""Number of layers to the mixer of each layer."""


def interleaved(linear: int) -> Pattern:
    """Return the repeated pattern of ``linear`` linear layers and a softmax layer (Jamba, Lieber et al. 2024)."""

    def pattern(layers: int) -> list[str]:
        if layers <= linear:
            raise ValueError(
                f"architecture=interleaved_{linear}_1 has its first softmax layer after {linear} linear layers, but "
                f"model.layers={layers}; give at least {linear + 1}."
            )
        return ["softmax" if index % (linear + 1) == linear else "linear" for index in range(layers)]

    return pattern


def everywhere(mixer: str) -> Pattern:
    """Return the pattern with the same mixer in every layer."""
    return lambda layers: [mixer] * layers


def nats_l(layers: int) -> list[str]:
    """Return routers in every fourth layer and the last (Deng et al. 2026: 3, 7, 11, 15, 19, 20 of 21), else linear."""
    return ["token_hybrid" if index % 4 == 3 or index == layers - 1 else "linear" for index in range(layers)]


@dataclass(frozen=True)
class Baseline:
    """A hand-designed hybrid.

    Attributes:
        pattern: mixer of each layer.
        as_searched: whether only ``model.routed_layers`` have its mixer, as in a search; other layers are linear, or as
            in the pretrained model.
        given: routing that does not depend on content; None for routers.
        rotary: whether softmax attention has rotary positions even if ``model.rope_base`` is null; those of pretrained
            models are their own.
        log_n: whether softmax attention has a log-n temperature even if ``model.log_n`` is false.
    """

    pattern: Pattern
    as_searched: bool = False
    given: GivenRouting | None = None
    rotary: bool = False
    log_n: bool = False


BASELINES: dict[str, Baseline] = {
    "softmax": Baseline(everywhere("softmax")),
    "softmax_rope": Baseline(everywhere("softmax"), rotary=True),
    "softmax_log_n": Baseline(everywhere("softmax"), log_n=True),
    "softmax_window": Baseline(everywhere("window")),
    "linear": Baseline(everywhere("linear")),
    "token_hybrid": Baseline(everywhere("token_hybrid"), as_searched=True),
    "interleaved_1_1": Baseline(interleaved(1)),
    "interleaved_3_1": Baseline(interleaved(3)),
    "interleaved_7_1": Baseline(interleaved(7)),
    "nats_l": Baseline(nats_l),
    "random_routing": Baseline(everywhere("token_hybrid"), as_searched=True, given="random"),
    "strided_routing": Baseline(everywhere("token_hybrid"), as_searched=True, given="strided"),
}
ROPE_BASE = 10000.0
"""Base of the rotary encoding of softmax_rope if ``model.rope_base`` is null (Su et al. 2021)."""


def names() -> list[str]:
    """Return the names of all hand-designed hybrids."""
    return list(BASELINES)


def mixers_of(name: str) -> list[str] | None:
    """Return the mixers of a pattern by letter, as lsll, or by names, as linear-softmax; None for other names."""
    mixers = spelled(name) or name.split("-")
    return mixers if all(map(known, mixers)) else None


def layers_of(name: str, layers: int) -> tuple[Layer, ...]:
    """Return the layers of a hand-designed hybrid by its pattern alone, with chunks of one token.

    Raises:
        ValueError: the hybrid needs more layers.
    """
    return tuple(Layer(mixer, 1) for mixer in BASELINES[name].pattern(layers))


def build(name: str, model: ModelConfig, vocab_size: int, given_share: float) -> Architecture | None:
    """Return the hand-designed hybrid of a name, with the sizes of ``model``; None if no hybrid has this name.

    Args:
        name: one of `names`, or the mixer of each layer, as letters or joined by hyphens: lslw, or
            linear-softmax-linear-window.
        model: sizes of the model.
        vocab_size: number of token ids.
        given_share: softmax share of random_routing and strided_routing in the routed layers, in [0, 1].

    Raises:
        ValueError: the model has too few layers, or its sizes do not fit.
    """
    changed: dict[str, Any] = {}
    if (baseline := BASELINES.get(name)) is not None:
        mixers = baseline.pattern(model.layers)
        if baseline.as_searched:
            routed = routed_layers(model)
            mixers = [mixer if layer in routed else model.unsearched(layer) for layer, mixer in enumerate(mixers)]
        if baseline.given is not None:
            changed = {"given_routing": baseline.given, "given_share": given_share}
        if baseline.rotary and model.rope_base is None and model.backbone is None:
            changed = {"rope_base": ROPE_BASE}
        if baseline.log_n:
            changed = {"log_n": True}
    elif (pattern := mixers_of(name)) is not None:
        mixers = pattern
        if len(mixers) != model.layers:
            raise ValueError(
                f"architecture={name} has {len(mixers)} layers, but model.layers={model.layers}; give equally many."
            )
    else:
        return None
    return model.architecture([Layer(mixer, model.chunk_size) for mixer in mixers], vocab_size, **changed)
