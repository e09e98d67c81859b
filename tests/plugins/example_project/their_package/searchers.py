"""A searcher: the codes in order, from the last one down."""

from dataclasses import dataclass
from random import Random

from omegaconf import MISSING

from nas.config import RandomConfig
from nas.plugins import register_searcher
from nas.search_spaces.space import Space
from nas.searchers import Excess, Score, Scores


@dataclass
class OrderedConfig(RandomConfig):
    """backwards: from the last code down."""

    backwards: bool = MISSING


def ordered(space: Space, score: Score, excess: Excess, settings: OrderedConfig, random: Random) -> Scores:
    codes = [code for code in space.codes() if excess(code) <= 0]
    if settings.backwards:
        codes.reverse()
    return {code: score(code) for code in codes[: settings.evaluations]}


register_searcher("theirs", ordered, OrderedConfig)
