"""Architectures within a limit, none of them twice: what every searcher draws its candidates from."""

from collections.abc import Callable, Container
from random import Random

from nas.search_spaces.space import Code, Space

Score = Callable[[Code], float]
"""How good an architecture is: larger is better, minus infinity is no candidate."""
Excess = Callable[[Code], float]
"""By how much an architecture is over the budget; 0 or less where it is within."""
Scores = dict[Code, float]
"""What was scored, in that order."""

LISTED = 10_000
"""Spaces of up to this many architectures are listed, so that a draw is exact and it is known when none is left."""
DRAWS = 200
"""How often to draw from a larger space before what was drawn is mended."""
STEPS = 5000
"""Mutations of a walk: more than it takes to bring a model of 24 layers with 7 options each down to the cheapest."""


class Draws:
    """Architectures of a space that are within the budget and new.

    Args:
        space: what can be chosen.
        excess: see `Excess`. A sum over layers, as costs are, has no local minimum in which a walk could stay.
        random: decides every draw.
    """

    def __init__(self, space: Space, excess: Excess, random: Random) -> None:
        self._space, self._excess, self._random = space, excess, random
        self._left = [code for code in space.codes() if excess(code) <= 0] if space.size <= LISTED else None

    def fresh(self, known: Container[Code]) -> Code | None:
        """One within the budget that is not known; None where none is left, or none was found.

        Drawn uniformly of those that are left, in spaces of up to `LISTED` architectures. In larger ones the same by
        rejection, unless so few are within the budget that `DRAWS` draws find none: then the last one drawn is mutated
        until it is within.
        """
        if self._left is not None:
            self._left = [code for code in self._left if code not in known]
            return self._random.choice(self._left) if self._left else None
        for _ in range(DRAWS):
            code = self._space.encode(self._space.sample(self._random))
            if self._wanted(code, known):
                return code
        return self._walk(code, known)

    def near(self, code: Code, known: Container[Code]) -> Code | None:
        """One within the budget that is not known, mutated from ``code`` until it is so; else a `fresh` one."""
        if self._left is not None and self.fresh(known) is None:
            return None
        return self._walk(code, known) or self.fresh(known)

    def _walk(self, code: Code, known: Container[Code]) -> Code | None:
        """Mutate until the architecture is wanted: over the budget no step goes further away from it."""
        over = self._excess(code)
        for _ in range(STEPS):
            step = self._space.encode(self._space.mutate(self._space.decode(code), self._random))
            if over > 0 and self._excess(step) > over:
                continue
            code, over = step, self._excess(step)
            if over <= 0 and code not in known:
                return code
        return None

    def _wanted(self, code: Code, known: Container[Code]) -> bool:
        return self._excess(code) <= 0 and code not in known
