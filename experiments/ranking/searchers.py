"""Searchers that score patterns with shared weights, applied to stored scores of all patterns.

`nas.search` with one of these searchers trains a supernet and scores some patterns with its weights. The weights do not
depend on the searcher, so one supernet whose patterns were all scored serves every searcher: the same function proposes
patterns, and reads their scores. All searchers then have the same training cost.
"""

import math
from collections.abc import Sequence
from random import Random

from experiments.ranking.scores import Scores
from nas.config import EvolutionConfig, OptunaConfig, RandomConfig
from nas.data.seeding import stable_seed
from nas.evaluation.metrics import merit
from nas.search_spaces.architecture import Architecture, Layer
from nas.search_spaces.space import Code, Space
from nas.searchers import find_searcher

MIXERS = {"s": "softmax", "l": "linear"}


def searchers(layers: int) -> dict[str, RandomConfig]:
    """Return the options of each searcher: a quarter of all patterns may be scored."""
    few = {"evaluations": max(1, 2**layers // 4), "batches": 1}
    evolution = {"population": max(1, few["evaluations"] // 2), "sample": 2}
    return {
        "evolution": EvolutionConfig(name="evolution", **few, **evolution),
        "Optuna": OptunaConfig(name="optuna", **few, sampler="TPE", sampler_options={}),
        "random": RandomConfig(name="random", **few),
    }


def choose(settings: RandomConfig, scores: Scores, allowed: Sequence[str], quality: str, seed: int) -> str:
    """Return the pattern that a searcher selects.

    Args:
        settings: options of the searcher.
        scores: scores of all patterns with the weights of one supernet.
        allowed: patterns within the budget.
        quality: measure of quality.
        seed: seed of the searcher.
    """
    patterns = {_code(pattern): pattern for pattern in scores}
    within = set(allowed)
    found = find_searcher(settings.name)(
        _space(len(allowed[0])),
        lambda code: merit(quality, scores[patterns[code]].quality, scores[patterns[code]].loss),
        lambda code: -1.0 if patterns[code] in within else 1.0,
        settings,
        Random(stable_seed(seed, "searcher", settings.name)),
    )
    return patterns[max(found, key=lambda code: found[code] if math.isfinite(found[code]) else -math.inf)]


def _code(pattern: str) -> Code:
    return tuple(list(MIXERS).index(letter) for letter in pattern)


def _space(layers: int) -> Space:
    """Return the space of all patterns; its sizes have no effect."""
    options = tuple(Layer(mixer, 1) for mixer in MIXERS.values())
    sizes = Architecture(
        vocab_size=2,
        width=8,
        layers=options[:1] * layers,
        linear_heads=1,
        key_dim=4,
        value_dim=4,
        softmax_heads=1,
        routing_heads=1,
        mlp_width=8,
    )
    return Space("layer_hybrid", sizes, (options,) * layers)
