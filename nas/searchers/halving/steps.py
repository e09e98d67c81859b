"""The training steps of a whole search by successive halving, known before it begins."""

from nas.budget.build import budgeted_cost, build_budget
from nas.config import HalvingConfig, SearchConfig
from nas.latency.obtain import latencies_of
from nas.search_spaces.space import Space
from nas.searchers.halving.candidates import starts
from nas.searchers.halving.rungs import rungs, training_steps


def search_steps(config: SearchConfig, space: Space) -> int:
    """Return the training steps of a search: of all candidates together if it is one by halving.

    Args:
        config: options of the search.
        space: space that is searched.

    Raises:
        UserError: no architecture of the space is within the budget.
    """
    if not isinstance(config.searcher, HalvingConfig):
        return config.trainer.steps
    latencies = latencies_of(config.budget, config.trainer, space.sizes, space.options)
    cost = budgeted_cost(config.budget, space, latencies)
    count = len(starts(space, cost, build_budget(config.budget, cost), config.seed, config.searcher))
    return training_steps(rungs(config.searcher, count, config.trainer.steps), count)
