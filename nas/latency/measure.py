"""Measurement of latencies: models of one and of several equal layers, timed on this machine.

The latency of a layer is the difference of two models over the number of layers by which they differ. What a model
does once, such as the embedding and the start of a CUDA graph, cancels out. Tokens and weights are random, and a fixed
policy routes the share of chunks that is measured.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from nas.evaluation.latency import median_seconds
from nas.latency.table import PREFILL, LayerLatency, Setting
from nas.models.decoding import Decoder
from nas.models.language_model import LanguageModel
from nas.models.policies import strided
from nas.search_spaces.architecture import Architecture, Layer

COPIES = (1, 3)
"""Numbers of layers of the two models."""
VOCABULARY = 16
"""Token ids of both, since the head is no part of a layer."""
STEPS = 32
"""Decoding steps that are timed together, at least; whole chunks, so that the ends of chunks count."""
REPEATS = 7
PATIENCE = 4.0
"""Seconds after which no further repeat begins."""


def layer_latency(sizes: Architecture, layer: Layer, setting: Setting, device: torch.device) -> LayerLatency:
    """Measure a layer: with a router at softmax shares of 0, 0.5 and 1.

    Args:
        sizes: architecture with the sizes of the model.
        layer: layer to measure.
        setting: conditions of the measurement.
        device: device to measure on.

    Raises:
        ValueError: the context does not fit in memory.
    """
    if not layer.routed:
        alone = layer_milliseconds(sizes, layer, setting, device, 1.0)
        return LayerLatency(alone, alone)
    dropped, half, kept = (layer_milliseconds(sizes, layer, setting, device, share) for share in (0.0, 0.5, 1.0))
    return LayerLatency(dropped, kept, abs(half - (dropped + kept) / 2))


def layer_milliseconds(
    sizes: Architecture, layer: Layer, setting: Setting, device: torch.device, share: float
) -> float:
    """Return the milliseconds of a layer at a softmax share."""
    few, many = (
        model_milliseconds(repeated(sizes, layer, copies, VOCABULARY), setting, device, share) for copies in COPIES
    )
    return max(many - few, 0.0) / (COPIES[1] - COPIES[0])


def rest_milliseconds(
    sizes: Architecture, layer: Layer, latency: LayerLatency, setting: Setting, device: torch.device
) -> float:
    """Return the milliseconds outside the layers: of a model of one layer without the latency of that layer."""
    whole = model_milliseconds(repeated(sizes, layer, 1, sizes.vocab_size), setting, device, 1.0)
    return max(whole - latency.kept_ms, 0.0)


def repeated(sizes: Architecture, layer: Layer, copies: int, vocab_size: int) -> Architecture:
    """Return an architecture of equal layers."""
    backbone = sizes.backbone
    if backbone is not None:
        backbone = replace(backbone, mixers=backbone.mixers[:1] * copies, ropes=backbone.ropes[:1] * copies)
    return replace(sizes, layers=(layer,) * copies, vocab_size=vocab_size, backbone=backbone)


@torch.no_grad()
def model_milliseconds(a: Architecture, setting: Setting, device: torch.device, share: float) -> float:
    """Return the milliseconds of a model with random weights: of a prompt, or of one token after it.

    Random numbers of this process stay as they were.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        decoder = Decoder(LanguageModel(a).to(device).eval(), strided(share))
        tokens = torch.randint(a.vocab_size, (1, setting.context), device=device)

        def prefill() -> None:
            decoder.prefill(tokens)

        if setting.phase == PREFILL:
            return 1000 * _median(setting, device, prefill)
        layer = a.layers[0]
        steps = STEPS + (-STEPS % layer.chunk_size if layer.routed else 0)

        def decode() -> None:
            for _ in range(steps):
                decoder.step(tokens[:, 0])

        median_seconds(device, setting.precision, lambda: prefill, repeats=1, warm_ups=0)
        return 1000 * _median(setting, device, decode) / steps


def _median(setting: Setting, device: torch.device, run: Callable[[], None]) -> float:
    return median_seconds(
        device,
        setting.precision,
        lambda: run,
        repeats=REPEATS,
        warm_ups=2 if device.type == "cuda" else 1,
        patience=PATIENCE,
    )
