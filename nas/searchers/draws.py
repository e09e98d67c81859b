"""Draws of distinct architectures within the budget, for every searcher."""

from collections.abc import Callable, Container
from random import Random

from nas.search_spaces.space import Code, Space

Score = Callable[[Code], float]
"""Code of an architecture to its score: larger is better, minus infinity cannot be selected."""
Excess = Callable[[Code], float]
"""Code of an architecture to its cost over the budget; at most 0 if it is within the budget."""
Scores = dict[Code, float]
"""Scores by code, in the order of scoring."""

LISTED = 10_000
"""Largest size of a space that is listed: draws from a list are exactly uniform and notice its end."""
DRAWS = 200
"""Draws from a larger space before the last one is mutated until it is within the budget."""
STEPS = 5000
"""Largest number of mutations of a walk: enough to reach the cheapest of 24 layers with 7 options each."""


class Draws:
    """Draws of architectures of a space that are within the budget and new.

    Args:
        space: search space.
        excess: see `Excess`. As a sum over layers it has no local minimum, so that a walk cannot get stuck.
        random: generator of all draws.
    """

    def __init__(self, space: Space, excess: Excess, random: Random) -> None:
        self._space, self._excess, self._random = space, excess, random
        self._left = [code for code in space.codes() if excess(code) <= 0] if space.size <= LISTED else None

    def fresh(self, known: Container[Code]) -> Code | None:
        """Draw an architecture within the budget that is not in ``known``; return its code, or None if none is found.

        The draw is uniform over the remaining architectures, in spaces of up to `LISTED` architectures from a list, in
        larger spaces by rejection. If `DRAWS` draws are all rejected, the last one is mutated until it is within the
        budget.
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
        """Mutate ``code`` until it is within the budget and not in ``known``; return a `fresh` one if that fails."""
        if self._left is not None and self.fresh(known) is None:
            return None
        return self._walk(code, known) or self.fresh(known)

    def _walk(self, code: Code, known: Container[Code]) -> Code | None:
        """Mutate a code until it is within the budget and not known; over the budget, no step raises the cost."""
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
