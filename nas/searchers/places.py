"""Rules that place softmax attention: their names, and the options of a layer between which they decide."""

from collections.abc import Callable, Sequence

from nas.errors import UserError
from nas.models.operations import operation_of
from nas.pretrained.original import original_architecture
from nas.search_spaces.space import Code, Space, option_name

RULE = "rule"
"""Name of the searcher."""
UNIFORM, RANDOM, ORIGINAL, GREEDY = RULES = ("uniform", "random", "original", "greedy")


class Places:
    """The options of each searchable layer between which a rule decides: the one that keeps, and the one that drops.

    A layer of a pretrained model keeps the operation that it has there, which may be a window, any other one softmax
    attention.

    Args:
        space: search space.
        cost: function from a layer and an option to the cost of the option; the cheapest other one is that which drops.
    """

    def __init__(self, space: Space, cost: Callable[[int, int], float]) -> None:
        self._space = space
        self.layers = space.choosing
        mixers = None if space.sizes.backbone is None else original_architecture(space.sizes).mixers
        self._kept = [self._keeping(layer, None if mixers is None else mixers[layer]) for layer in self.layers]
        self._dropped = [
            min((cost(layer, option), option) for option in range(len(space.options[layer])) if option != kept)[1]
            for layer, kept in zip(self.layers, self._kept, strict=True)
        ]

    def _keeping(self, layer: int, mixer: str | None) -> int:
        own = self._space.options[layer]
        for place, option in enumerate(own):
            keeps_all = not option.routed and operation_of(option.mixer, self._space.sizes).keeps_all
            if option.mixer == mixer or (mixer is None and keeps_all):
                return place
        raise UserError(
            f"searcher={RULE} places {mixer or 'softmax attention'}, but layer {layer} has the options "
            f"{', '.join(map(option_name, own))}; add {mixer or 'softmax'} to space.operations."
        )

    def code(self, keeping: Sequence[int]) -> Code:
        """Return the architecture in which these layers keep, and the other searchable ones drop."""
        code = [0] * len(self._space.options)
        for layer, kept, dropped in zip(self.layers, self._kept, self._dropped, strict=True):
            code[layer] = kept if layer in keeping else dropped
        return tuple(code)


def evenly(layers: Sequence[int], count: int) -> list[int]:
    """Return as many of the layers, evenly spaced: the last one of each group.

    >>> evenly(range(8), 2), evenly([0, 1, 2, 3, 4, 5], 4)
    ([3, 7], [1, 2, 4, 5])
    """
    return [layers[-(-(group + 1) * len(layers) // count) - 1] for group in range(count)]
