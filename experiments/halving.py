"""What a search by successive halving costs, for the plans of studies."""

from functools import cache

from nas.budget.build import budgeted_cost, build_budget
from nas.cli.composing import compose_search
from nas.config import HalvingConfig
from nas.pretrained.stock import build_space
from nas.searchers.halving.candidates import candidates
from nas.searchers.halving.rungs import rungs, training_steps


@cache
def search_steps(*options: str) -> int:
    """Return the training steps of all candidates of a search by successive halving together.

    Args:
        options: options of `nas.search`. The vocabulary of its data, which is not read, plays no part in a budget of
            kv_bytes or softmax_share.

    Raises:
        UserError: the options are no search, or no architecture is within the budget.
    """
    config = compose_search(list(options))
    assert isinstance(config.searcher, HalvingConfig), config.searcher.name
    space = build_space(config.space, config.model, config.model.vocab_size or 1)
    cost = budgeted_cost(config.budget, space)
    budget = build_budget(config.budget, cost)
    count = len(candidates(space, cost, budget, config.seed, config.searcher.evaluations))
    return training_steps(rungs(config.searcher, count, config.trainer.steps), count)
