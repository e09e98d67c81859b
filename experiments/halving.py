"""What a search costs, for the plans of studies."""

from functools import cache

from nas.cli.composing import compose_search
from nas.pretrained.stock import build_space
from nas.searchers.halving import steps


@cache
def search_steps(*options: str) -> int:
    """Return the training steps of a search; see `nas.searchers.halving.steps.search_steps`.

    Args:
        options: options of `nas.search`. The vocabulary of its data, which is not read, plays no part in a budget of
            kv_bytes or softmax_share.

    Raises:
        UserError: the options are no search, or no architecture is within the budget.
    """
    config = compose_search(list(options))
    return steps.search_steps(config, build_space(config.space, config.model, config.model.vocab_size or 1))
