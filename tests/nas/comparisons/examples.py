"""Results of comparisons, as finished trainings would give them."""

import math
from collections.abc import Sequence

from nas.comparisons.results import Comparison, Trained, TrainedContender
from tests.nas.architectures import small

CONTEXTS = (4096, 32768, 131072)


def trained(
    seed: int, quality: dict[int, float], share: float = 0.5, segments: dict[int, list[tuple[int, float]]] | None = None
) -> Trained:
    return Trained(
        seed=seed,
        quality=quality,
        loss={factor: 1.0 - value / 10 for factor, value in quality.items()},
        share=dict.fromkeys(quality, share),
        by_position=segments,
        planted={"precision": 0.9, "recall": math.nan},
        kv_bytes={context: 60_000 + 512 * share * context for context in CONTEXTS},
        flops_per_token={context: 1e6 + 100 * share * context for context in CONTEXTS},
        training_flops=2.5e13,
        prefill_seconds=1.25e-5,
        decode_seconds=None,
        parameters=1_234_567,
    )


def contender(name: str, *runs: Trained, searched: bool = False) -> TrainedContender:
    return TrainedContender(name, searched, 2e-3, {1e-3: 0.4, 2e-3: 0.5}, small("softmax", "linear").to_dict(), runs)


def by_seed(name: str, *qualities: float, searched: bool = False, share: float = 0.5) -> TrainedContender:
    """Return a contender that was measured at the training length alone."""
    runs = [trained(seed, {1: quality}, share) for seed, quality in enumerate(qualities)]
    return contender(name, *runs, searched=searched)


def comparison(*contenders: TrainedContender, quality: str = "recall", factors: Sequence[int] = (1,)) -> Comparison:
    return Comparison("associative recall", quality, 512, list(factors), contenders)


def recall() -> Comparison:
    """Return two searched models and six baselines over three seeds and four lengths; many have quality 1."""
    means = {
        "token_hybrid": (0.031, True, (1.0, 1.0, 0.99, 0.97)),
        "layer_hybrid": (0.25, True, (1.0, 0.97, 0.8, 0.5)),
        "softmax": (1.0, False, (1.0, 0.9, 0.2, 0.02)),
        "linear": (0.0, False, (0.02, 0.015, 0.01, 0.01)),
        "interleaved_3_1": (0.25, False, (1.0, 0.95, 0.7, 0.4)),
        "interleaved_7_1": (0.125, False, (1.0, 0.93, 0.72, 0.35)),
        "nats_l": (0.4, False, (1.0, 0.99, 0.96, 0.9)),
        "random_routing": (0.031, False, (0.15, 0.1, 0.05, 0.02)),
    }
    made = []
    for name, (share, searched, qualities) in means.items():
        runs = []
        for seed in range(3):
            noise = 0.03 * math.sin(7.0 * seed + 3.0 * len(name))
            noisy = (min(1.0, max(0.0, value + noise * (value < 1))) for value in qualities)
            runs.append(trained(seed, dict(zip((1, 2, 4, 8), noisy, strict=True)), min(1.0, share * (1 + noise))))
        made.append(contender(name, *runs, searched=searched))
    return comparison(*made, factors=(1, 2, 4, 8))


def text() -> Comparison:
    """Return one searched and two hand-designed models in bits per byte, with segments by position at two lengths."""
    made = []
    for name, share, level in (("token_hybrid", 0.1, 1.95), ("softmax", 1.0, 2.1), ("linear", 0.0, 1.93)):
        runs = []
        for seed in range(3):
            start = level + 0.01 * seed
            segments = {
                factor: [(end, start + 20 / (end + 20)) for end in range(64, 512 * factor + 1, 64)] for factor in (1, 2)
            }
            runs.append(trained(seed, {1: start, 2: start - 0.02}, share, segments))
        made.append(contender(name, *runs, searched=name == "token_hybrid"))
    return comparison(*made, quality="bits_per_byte", factors=(1, 2))
