"""The supernet of a search as one value: space, shared weights, architecture logits and budget."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from nas.budget.controller import Budget
from nas.budget.cost import SpaceCost
from nas.data.seeding import generator
from nas.models.language_model import LanguageModel
from nas.models.policies import drop_all, policy_of
from nas.models.routing import Policy, first_alone
from nas.search_spaces.space import Code, Space
from nas.supernet.architecture_logits import ArchitectureLogits


class Supernet(NamedTuple):
    """All architectures of a space with shared weights. A single architecture is a space without searchable layers.

    Attributes:
        space: search space.
        model: language model with the shared weights.
        architecture_logits: a logit for each option of each searchable layer.
        cost: cost of the architectures in the resource of the budget.
        budget: state of the budget at this step of training.
        seed: seed of random routing.
        before: layers that are routed or searchable in the space that this architecture is taken from by a placement or
            by a searcher that trains architectures alone; empty for that space itself.
    """

    space: Space
    model: LanguageModel
    architecture_logits: ArchitectureLogits
    cost: SpaceCost
    budget: Budget
    seed: int
    before: tuple[int, ...] = ()

    @property
    def counted(self) -> Collection[int]:
        """The layers over which a softmax share is averaged; those of the whole space, all if none is routed."""
        return self.before or sorted({*self.space.choosing, *self.space.routed}) or range(len(self.space.options))

    def placed(self, every: Space, code: Code) -> "Supernet":
        """Return the single architecture of a placement, with its share of the weights and the same budget.

        Args:
            every: space of all placements.
            code: code of the placement in it.
        """
        cost = self.cost.for_space(every).restricted(code)
        return self._single(every.alone(code), cost, self.architecture_logits.shares)

    def alone(self, code: Code) -> "Supernet":
        """Return a single architecture of the space, with a copy of its share of the weights and the same budget."""
        shares = self.architecture_logits.shares
        own = shares.gather(1, torch.tensor(code, device=shares.device)[:, None])
        return self._single(self.space.alone(code), self.cost.restricted(code), own)

    def _single(self, alone: Space, cost: SpaceCost, shares: Tensor) -> "Supernet":
        """Return a supernet of one architecture, with the running softmax shares [layers, 1] of its layers."""
        logits = ArchitectureLogits(alone).to(shares)
        logits.shares.copy_(shares)
        return self._replace(
            space=alone,
            model=self.model.inherit(alone.sizes),
            architecture_logits=logits,
            cost=cost,
            before=tuple(self.counted),
        )

    @property
    def searches(self) -> bool:
        """Whether the space has routed or searchable layers."""
        return bool(self.space.routed or self.space.choosing)

    @property
    def by_logits(self) -> bool:
        """Whether router logits decide which chunks are softmax: no routing is given."""
        return self.space.sizes.given_routing is None

    @property
    def policy(self) -> Policy:
        """The policy of the architecture, or the policy of the dense phase before routing begins.

        Random routing restarts from the seed each time this property is read.
        """
        if self.budget.dense:
            return drop_all if self.budget.starts_cheapest else first_alone
        return policy_of(self.model.architecture, generator=generator(self.seed, "random routing"))

    @property
    def code(self) -> Code:
        """The most probable architecture within the budget, or the nearest to it.

        Before routing begins, it is the architecture of the dense phase. If architecture logits do not learn, all
        architectures are equally probable, and it is any architecture within the budget.
        """
        if self.budget.dense:
            return self.cost.cheapest if self.budget.starts_cheapest else self.cost.densest
        return self.architecture_logits.best(self.cost, self.budget.target, self.budget.exact)
