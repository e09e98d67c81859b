"""The supernet of a search as one value: its space, its shared weights, and what has been learnt so far."""

from typing import NamedTuple

from nas.budget.controller import Budget
from nas.budget.cost import SpaceCost
from nas.data.seeding import generator
from nas.models.language_model import LanguageModel
from nas.models.mixers import Policy, first_alone
from nas.models.policies import drop_all, policy_of
from nas.search_spaces.space import Code, Space
from nas.supernet.architecture_logits import ArchitectureLogits


class Supernet(NamedTuple):
    """All architectures of a space with shared weights. A single architecture is a space without a choice.

    Attributes:
        space: the architectures.
        model: the shared weights.
        architecture_logits: a logit for each option of each searchable layer.
        cost: of the architectures, in the resource of the budget.
        budget: at this step of training.
        seed: of what the policy draws at random.
    """

    space: Space
    model: LanguageModel
    architecture_logits: ArchitectureLogits
    cost: SpaceCost
    budget: Budget
    seed: int

    @property
    def searches(self) -> bool:
        """Whether a router or a layer decides anything."""
        return bool(self.space.routed or self.space.choosing)

    @property
    def policy(self) -> Policy:
        """The policy that was learnt; that of the start before routing begins.

        What it draws at random begins anew each time that the policy is read.
        """
        if self.budget.dense:
            return drop_all if self.budget.starts_cheapest else first_alone
        return policy_of(self.model.architecture, generator=generator(self.seed, "random routing"))

    @property
    def code(self) -> Code:
        """The most probable architecture within the budget, or the nearest to it; that of the start before routing
        begins.

        Where logits do not learn, all architectures are as probable, and this is any one within the budget.
        """
        if self.budget.dense:
            return self.cost.cheapest if self.budget.starts_cheapest else self.cost.densest
        return self.architecture_logits.best(self.cost, self.budget.target, self.budget.exact)
