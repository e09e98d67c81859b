"""Spaces with scores and costs made by hand, small enough to know the best."""

from dataclasses import dataclass
from random import Random

from nas.search_spaces.architecture import Layer
from nas.search_spaces.space import Code, Space
from nas.searchers import Excess, Score
from tests.nas.architectures import small

OPTIONS = (Layer("softmax", 4), Layer("linear", 4), *(Layer("token_hybrid", size) for size in (4, 8, 16)))


def space_of(layers: int, options: int) -> Space:
    return Space("toy", small(*("softmax",) * layers), (OPTIONS[:options],) * layers)


@dataclass
class Separable:
    """A score that is a sum over layers and options, as drawn from a seed; remembers what it was asked for."""

    space: Space
    seed: int = 0

    def __post_init__(self) -> None:
        random = Random(f"separable {self.seed}")
        self.gains = [[random.gauss(0, 1) for _ in options] for options in self.space.options]
        self.asked: list[Code] = []

    def __call__(self, code: Code) -> float:
        self.asked.append(code)
        return sum(gains[option] for gains, option in zip(self.gains, code, strict=True))


def at_most(limit: int, option: int = 0) -> Excess:
    """A budget on how many layers take an option."""
    return lambda code: code.count(option) - limit


def free(code: Code) -> float:
    """No budget."""
    return 0.0


def best_within(space: Space, score: Score, excess: Excess) -> Code:
    return max((code for code in space.codes() if excess(code) <= 0), key=score)
