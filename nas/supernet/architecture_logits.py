"""The choices of a space while they are being learnt: a logit for each option of each layer that has several."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.budget.cost import SpaceCost
from nas.distributed.collectives import average
from nas.models.mixers import FIRST_OPTION, LayerChoice, Routing, kept_margin, kept_weight
from nas.relaxations import RELAXATIONS, SAMPLED, precise
from nas.search_spaces.space import Code, Space
from nas.supernet.best_code import best_code, nearest_code
from nas.supernet.thresholds import threshold

TOLERANCE = 0.02
"""How much of the dearest cost a found architecture may be over its budget: routers vary from batch to batch."""
MOVES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares that routers' thresholds could be moved to, beside those that they have."""
RELUCTANCE = 10.0
"""How much the log-probability must be higher for each unit of relative cost that thresholds have to move."""
RUNNING = 0.95
"""Weight of the past in the running shares."""
LEAN = 3.0
"""How much smaller than the cheapest option's the logit of the dearest is at the start of a search from below."""


class ArchitectureLogits(nn.Module):
    """Architecture logits, all equal at first, and the share of softmax chunks that each option was seen to use.

    Args:
        space: what can be chosen.
    """

    shares: Tensor
    """[layers, most options], the running share of softmax chunks of each token_hybrid option."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space
        self.logits = nn.ParameterDict(
            {str(layer): nn.Parameter(torch.zeros(len(space.options[layer]))) for layer in space.choosing}
        )
        self.register_buffer("shares", torch.ones(len(space.options), max(map(len, space.options))))

    def layer_choices(self, relaxation: str, temperature: float | Tensor, pairs: bool = False) -> list[LayerChoice]:
        """What each layer is in a training step.

        Args:
            relaxation: of the logits.
            temperature: of the relaxation.
            pairs: whether in each layer only two options are computed and compete, drawn as often as their logits say
                (by Gumbel noise, without replacement): as in ProxylessNAS (Cai et al. 2019, section 3.2.1). Of no
                matter where only one is computed anyway.
        """
        layer_choices = [FIRST_OPTION] * len(self.space.options)
        for layer in self.space.choosing:
            logits = self.logits[str(layer)]
            if pairs and len(logits) > 2 and relaxation not in SAMPLED:
                among = _pair(logits)
                weights = RELAXATIONS[relaxation](logits[list(among)], temperature)
                layer_choices[layer] = LayerChoice(None, weights, among)
                continue
            weights = RELAXATIONS[relaxation](logits, temperature)
            if relaxation in SAMPLED:
                option = int(weights.argmax())
                layer_choices[layer] = LayerChoice(option, weights[option])
            else:
                layer_choices[layer] = LayerChoice(None, weights)
        return layer_choices

    @torch.no_grad()
    def lean_to_cheapest(self, cost: SpaceCost) -> None:
        """Begin with what costs little: routers that keep nothing, and the dearest option's logit smaller by `LEAN`."""
        self.shares.zero_()
        for layer in self.space.choosing:
            bases = torch.tensor([line.base for line in cost.lines[layer]])
            self.logits[str(layer)].copy_(-LEAN * (bases - bases.min()) / (bases.max() - bases.min()).clamp(min=1e-9))

    def cost(self, cost: SpaceCost, routing: dict[int, list[Routing]], hard: bool = False) -> Tensor:
        """The relative cost that is to be expected, with a gradient for the logits of layers and of routers.

        Options that this step did not compute count with the share of softmax chunks that they had before.

        Args:
            cost: of the space.
            routing: what routers decided in this step.
            hard: whether chunks count as softmax where their logits say so, as they will be routed in the end, whatever
                this step drew or mixed of these; the gradient is that of the weights of this step all the same.
        """
        shares = self._shares(self._noted(routing, hard))
        weights = [self.probabilities(layer).unbind() for layer in range(len(self.space.options))]
        return torch.as_tensor(cost.expected(weights, shares), device=self.shares.device)

    def routed_cost(self, cost: SpaceCost, routing: dict[int, list[Routing]]) -> Tensor:
        """The relative cost for which routers answer where layers are drawn uniformly: nothing learns to choose them.

        The budget is on one architecture, which a searcher takes from the space afterwards. What an architecture of
        softmax and linear layers costs nobody can change by training: the mean cost of all architectures would mostly
        be made of these, often over the target whatever routers do, and would push every router to send nothing to
        softmax. What routers can see to is that an architecture that leaves the choice to them keeps to the budget:
        where every layer that has an option with a router takes one. Of these architectures this is the mean cost,
        since all of them are drawn equally often; other layers count with the mean of their options. So a router
        spends as in the space token_hybrid at the same budget, and where even routers that send nothing to softmax
        cost more than the target, the multiplier ends at its maximum, as for any target out of reach.

        Options that this step did not draw count with the share that they had before. The gradient is that of the
        architecture that was drawn, as it is of the loss: neither is weakened by how seldom an option is drawn.
        """
        noted = self._noted(routing)
        weights = []
        for options in self.space.options:
            counted = [option.routed for option in options]
            counted = counted if any(counted) else [True] * len(options)
            weights.append([one / sum(counted) for one in counted])
        mean = torch.as_tensor(cost.expected(weights, self._shares(noted)), device=self.shares.device).detach()
        routers = {(layer, self.space.options[layer][option].chunk_size): (layer, option) for layer, option in noted}
        drawn = [
            cost.relative(cost.lines[layer][option].slope) * noted[layer, option] for layer, option in routers.values()
        ]
        steered = torch.stack(drawn).sum() if drawn else mean
        return mean + steered - steered.detach()

    def _shares(self, noted: dict[tuple[int, int], Tensor]) -> list[list[Tensor]]:
        """The share of softmax chunks of each layer's options: as noted in this step, else as it was before."""
        running = self.shares.clone()
        shares = [list(row[: len(options)]) for row, options in zip(running, self.space.options, strict=True)]
        for (layer, option), share in noted.items():
            shares[layer][option] = share
        return shares

    def _noted(self, routing: dict[int, list[Routing]], hard: bool = True) -> dict[tuple[int, int], Tensor]:
        """The share of softmax chunks that routers decided on, by layer and option, of which a note is taken."""
        noted = {}
        for layer, option, one in self._decided(routing):
            share = precise(kept_weight(one)).mean()
            if hard:
                share = share + ((kept_margin(one) >= 0).to(share).mean() - share).detach()
            noted[layer, option] = share
            self.shares[layer, option].lerp_(average(share.detach()).to(self.shares), 1 - RUNNING)
        return noted

    @torch.no_grad()
    def threshold(
        self, cost: SpaceCost, routing: dict[int, list[Routing]], expected: Tensor, allowed: float | Tensor
    ) -> Tensor:
        """Where routers would have to draw the line for the cost to be the allowed one: a difference of logits.

        Args:
            cost: of the space.
            routing: what routers decided in a step.
            expected: the relative cost that this step had.
            allowed: that it should have had.
        """
        probabilities = [self.probabilities(layer) for layer in range(len(self.space.options))]
        every, costs = self._leads(cost, routing, probabilities)
        return threshold(every, costs, (costs * (every >= 0)).sum() + allowed - expected)

    @torch.no_grad()
    def threshold_of(self, cost: SpaceCost, routing: dict[int, list[Routing]], code: Code, target: float) -> Tensor:
        """Where the routers of one architecture would have to draw the line for its relative cost to be the target.

        Args:
            cost: of the space.
            routing: what routers decided, only those of this architecture.
            code: of the architecture.
            target: relative cost.
        """
        base = cost.of(code, dict.fromkeys(range(len(code)), 0.0))
        chosen = [
            F.one_hot(self.shares.new_tensor(option).long(), len(lines)).to(self.shares)
            for option, lines in zip(code, cost.lines, strict=True)
        ]
        every, costs = self._leads(cost, routing, chosen)
        return threshold(every, costs, every.new_tensor(target - cost.relative(base)))

    def _leads(
        self, cost: SpaceCost, routing: dict[int, list[Routing]], probabilities: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The lead of softmax for every decision, and the relative cost if it is softmax, both [n]."""
        by_option: dict[tuple[int, int], list[Tensor]] = {}
        for layer, option, one in self._decided(routing):
            by_option.setdefault((layer, option), []).append(kept_margin(one).flatten().to(self.shares))
        every, costs = [self.shares.new_zeros(0)], [self.shares.new_zeros(0)]
        for (layer, option), found in by_option.items():
            own = torch.cat(found)
            slope = cost.relative(cost.lines[layer][option].slope)
            every.append(own)
            costs.append((probabilities[layer][option] * (slope / len(own))).expand_as(own))
        return torch.cat(every), torch.cat(costs)

    def _decided(self, routing: dict[int, list[Routing]]) -> Iterator[tuple[int, int, Routing]]:
        """Layer, option and what its router decided; options that differ in their MLP alone share a router."""
        for layer, decided in routing.items():
            for one in decided:
                for option, own in enumerate(self.space.options[layer]):
                    if own.routed and own.chunk_size == one.chunk_size:
                        yield layer, option, one

    @torch.no_grad()
    def best(self, cost: SpaceCost, target: float, exact: bool = False) -> Code:
        """The most probable architecture within the budget; where there is none, the one that comes nearest.

        Args:
            cost: of the space.
            target: relative cost.
            exact: whether less is as wrong as more.
        """
        scores = [self.probabilities(layer).log().nan_to_num(0.0).tolist() for layer in range(len(self.space.options))]
        costs, target = self.costs(cost), target - cost.relative(cost.fixed)
        if exact:
            return self._nearest(cost, scores, costs, target)
        within = best_code(scores, costs, target + TOLERANCE)
        return within or tuple(options.index(min(options)) for options in costs)

    def excess(self, cost: SpaceCost, code: Code, spent: float, target: float, exact: bool = False) -> float:
        """By how much an architecture is off the budget, as `best` counts it; 0 or less where it is within.

        Args:
            cost: of the space.
            code: of the architecture.
            spent: its relative cost.
            target: relative cost.
            exact: whether less is as wrong as more.
        """
        if not exact:
            return spent - target - TOLERANCE
        least, most = (cost.relative(cost.of(code, dict.fromkeys(range(len(code)), share))) for share in (0.0, 1.0))
        return 0.0 if least < target < most else abs(spent - target) - TOLERANCE

    def _nearest(self, cost: SpaceCost, scores: list[list[float]], costs: list[list[float]], target: float) -> Code:
        """The most probable architecture that can use up the budget, rather without moving thresholds far."""
        ways = [
            [
                (option, score - RELUCTANCE * abs(moved - now), moved)
                for option, (line, score, now) in enumerate(zip(*own, strict=True))
                for moved in [now, *(cost.relative(line.at(share)) for share in MOVES if line.slope)]
            ]
            for own in zip(cost.lines, scores, costs, strict=True)
        ]
        reluctant = [[score for _, score, _ in own] for own in ways]
        chosen = nearest_code(reluctant, [[moved for _, _, moved in own] for own in ways], target, TOLERANCE)
        return tuple(own[index][0] for own, index in zip(ways, chosen, strict=True))

    def cost_of(self, cost: SpaceCost, code: Code) -> float:
        """The relative cost of an architecture, at the shares that its routers had."""
        each = (options[option] for options, option in zip(self.costs(cost), code, strict=True))
        return cost.relative(cost.fixed) + sum(each)

    def costs(self, cost: SpaceCost) -> list[list[float]]:
        """The relative cost of each layer's options, at the shares that their routers had."""
        return [
            [cost.relative(line.at(share)) for line, share in zip(lines, shares, strict=False)]
            for lines, shares in zip(cost.lines, self.shares.nan_to_num(1.0).tolist(), strict=True)
        ]

    def probabilities(self, layer: int) -> Tensor:
        """[options] softmax of the logits of a layer; one where there is nothing to choose."""
        if str(layer) not in self.logits:
            return self.shares.new_ones(1)
        probabilities: Tensor = self.logits[str(layer)].softmax(-1)
        return probabilities


@torch.no_grad()
def _pair(logits: Tensor) -> tuple[int, int]:
    """Two different options, drawn by softmax of their logits one after the other (Gumbel-top-2; Kool et al. 2019)."""
    noise = -torch.empty_like(logits).exponential_().log()
    first, second = sorted((logits + noise).topk(2).indices.tolist())
    return first, second


def choices_of_layers(code: Code) -> list[LayerChoice]:
    """One architecture alone."""
    return [LayerChoice(option) for option in code]
