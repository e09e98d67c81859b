"""Architecture logits: a trainable logit for each option of each searchable layer, and the expected cost they give."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.budget.cost import SpaceCost
from nas.distributed.collectives import average, gathered
from nas.models.routing import FIRST_OPTION, LayerChoice, Routing, kept_margin, shares_of
from nas.relaxations import RELAXATIONS, UNLEARNT
from nas.search_spaces.space import Code, Space
from nas.supernet.best_code import best_code, nearest_code
from nas.supernet.decision import Selected
from nas.supernet.draws import RunDraw, choices_of_layers, draw_options, drawn_options, run_draw
from nas.supernet.thresholds import threshold

TOLERANCE = 0.02
"""Relative cost by which router shares vary between batches. Calibration removes an excess of this size."""
ROUNDING = 1e-6
"""Relative cost that counts as equal: shares are means in float32."""
MOVES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Softmax shares to which calibration can move the thresholds of routers, beside the present share."""
RELUCTANCE = 10.0
"""Log-probability that one unit of relative cost is worth, if moving thresholds changes the cost by that much."""
RUNNING = 0.95
"""Decay of the running shares."""
LEAN = 3.0
"""Margin of the cheapest option's logit over the most expensive option's, if a search starts cheapest."""


class Measured(NamedTuple):
    """Softmax shares of one step.

    Attributes:
        cells: [n] indices of layer and option in the flattened running shares; one past their end for padding.
        shares: [n, 2] shares of the options, as `shares_of` returns them, with a gradient.
    """

    cells: Tensor
    shares: Tensor


class ArchitectureLogits(nn.Module):
    """Architecture logits, initially equal, and the running softmax share of each option.

    Once an architecture is selected during training, each of its options has probability 1, and draws return it.

    Args:
        space: search space, with the options of each layer.
        selects: whether an architecture is selected during training.

    Attributes:
        selected: architecture that is selected during training; None if none ever is.
    """

    shares: Tensor
    """[layers, most options], running softmax share of each option with a router."""
    _of_routers: Tensor
    _with_own_router: Tensor
    _cells: Tensor

    def __init__(self, space: Space, selects: bool = False) -> None:
        super().__init__()
        self.space = space
        self.selected = Selected(len(space.options)) if selects else None
        self.logits = nn.ParameterDict(
            {str(layer): nn.Parameter(torch.zeros(len(space.options[layer]))) for layer in space.choosing}
        )
        self.register_buffer("shares", torch.ones(len(space.options), max(map(len, space.options))))
        self.register_buffer("_of_routers", _mean_of_routers(space), persistent=False)
        self.register_buffer("_with_own_router", _with_own_router(space), persistent=False)
        self.register_buffer("_cells", torch.arange(self.shares.numel() + 1), persistent=False)

    @property
    def code(self) -> Code | None:
        """The architecture that was selected during training; None before the selection."""
        return None if self.selected is None else self.selected.code

    def layer_choices(
        self,
        relaxation: str,
        temperature: float | Tensor,
        pairs: bool = False,
        run: RunDraw = run_draw,
    ) -> list[LayerChoice]:
        """Draw what each layer computes in a training step.

        The host waits once if it has to read what was drawn. Draws that do not depend on the logits are made on the
        CPU, and the host does not wait.

        Args:
            relaxation: how logits become weights, one of `nas.relaxations.RELAXATIONS`.
            temperature: temperature of the relaxation.
            pairs: whether each layer computes only two options, drawn in proportion to their probabilities without
                replacement (ProxylessNAS, Cai et al. 2019, section 3.2.1). It has no effect if the relaxation computes
                a single option.
            run: how the draw is called, for example as a CUDA graph.
        """
        if self.code is not None:
            return choices_of_layers(self.code)
        layer_choices = [FIRST_OPTION] * len(self.space.options)
        if relaxation in UNLEARNT:
            for layer in self.space.choosing:
                one_hot = RELAXATIONS[relaxation](torch.zeros(len(self.space.options[layer])), 1.0)
                layer_choices[layer] = LayerChoice(int(one_hot.argmax()))
            return layer_choices
        counts = [drawn_options(len(self.space.options[layer]), relaxation, pairs) for layer in self.space.choosing]

        def draw(*logits: Tensor) -> tuple[Tensor, ...]:
            return draw_options(logits, relaxation, temperature, pairs)

        found = run(draw, [self.logits[str(layer)] for layer in self.space.choosing]) if counts else ()
        drawn = iter(found[-1].tolist() if any(counts) else ())
        for layer, count, weights in zip(self.space.choosing, counts, found, strict=False):
            among = tuple(islice(drawn, count))
            option = among[0] if count == 1 else None
            layer_choices[layer] = LayerChoice(option, weights, among if count > 1 else None)
        return layer_choices

    @torch.no_grad()
    def lean_to_cheapest(self, cost: SpaceCost) -> None:
        """Prefer cheap options: running shares of 0, and logits that fall with the cost, by `LEAN` in all."""
        self.shares.zero_()
        for layer in self.space.choosing:
            bases = torch.tensor([line.base for line in cost.lines[layer]])
            self.logits[str(layer)].copy_(-LEAN * (bases - bases.min()) / (bases.max() - bases.min()).clamp(min=1e-9))

    def cost(self, cost: SpaceCost, measured: Measured, hard: bool = False, update: bool = True) -> Tensor:
        """Return the expected relative cost, with a gradient for architecture logits and router logits.

        Options that this step did not compute count with their running softmax share.

        Args:
            cost: cost of the space.
            measured: shares of this step.
            hard: whether a chunk counts as softmax if its softmax logit is the larger one, as after the search. The
                gradient is always that of the route weights of this step.
            update: whether the shares of this step change the running shares.
        """
        return cost.expected(self._weights(), self._updated(measured.cells, measured.shares[:, int(hard)], update))

    def cost_by_layer(self, cost: SpaceCost, measured: Measured, hard: bool = False, update: bool = True) -> Tensor:
        """Return the expected relative cost [layers] of each layer; see `cost` for the arguments."""
        shares = self._updated(measured.cells, measured.shares[:, int(hard)], update)
        return cost.expected_by_layer(self._weights(), shares)

    def routed_cost(self, cost: SpaceCost, measured: Measured, update: bool = True) -> Tensor:
        """Return the part of the relative cost that routers control, for layers that are drawn uniformly.

        Architecture logits do not learn here. A searcher selects one architecture after training, and the budget
        applies to that architecture. Training cannot change the cost of an architecture of softmax and linear layers.
        Such architectures would dominate the mean cost of the space, often above the target, and the multiplier would
        push every router to drop all chunks.

        The cost is therefore the mean over the architectures in which every layer that can have a router has one. All
        of them are drawn equally often. Layers without such an option count with the mean of their options. Routers
        then keep as many chunks as in the space token_hybrid at the same budget. If the target is below the cost
        without any softmax chunk, the multiplier rises to its maximum, as for every target out of reach.

        Options that this step did not draw count with their running softmax share. The gradient is that of the drawn
        architecture, like the gradient of the loss. Its size does not depend on how rarely an option is drawn.

        Args:
            cost: cost of the space.
            measured: shares of this step.
            update: whether they change the running shares.
        """
        hard = measured.shares[:, 1]
        mean = cost.expected(self._of_routers, self._updated(measured.cells, hard, update)).detach()
        slopes = cost.tables(mean.device, mean.dtype)[1] * self._with_own_router
        steered = (_with_padding(slopes)[measured.cells] * hard).sum()
        return mean + steered - steered.detach()

    def _weights(self) -> Tensor:
        """Return the probabilities [layers, most options] of the options, 0 past a layer's last option."""
        most = self.shares.shape[1]
        each = [self.probabilities(layer) for layer in range(len(self.space.options))]
        return torch.stack([own if len(own) == most else F.pad(own, (0, most - len(own))) for own in each])

    def _updated(self, cells: Tensor, shares: Tensor, update: bool) -> Tensor:
        """Return [layers, most options] shares, those of this step or else running ones, and update the running ones.

        Args:
            cells, shares: see `Measured`.
            update: whether to update them.
        """
        if not len(cells):
            return self.shares.clone()
        running = _with_padding(self.shares)
        mixed = running.index_put((cells,), shares.to(running))[:-1].view_as(self.shares)
        if not update:
            return mixed
        new = average(shares.detach()).to(running)
        self.shares.copy_(running.index_copy(0, cells, running[cells].lerp(new, 1 - RUNNING))[:-1].view_as(self.shares))
        return mixed

    def measured(self, routing: dict[int, list[Routing]], rows: int = 0) -> Measured:
        """Return the softmax shares of the options that a step computed.

        Args:
            routing: routings of the step, by layer.
            rows: least number of shares to return; missing ones are padding.
        """
        cells, (_, most) = self._cells.unbind(), self.shares.shape
        found = [(cells[layer * most + option], shares_of(one)) for layer, option, one in self._decided(routing)]
        found += [(cells[-1], self.shares.new_zeros(2))] * (rows - len(found))
        if not found:
            return Measured(self._cells[:0], self.shares.new_zeros(0, 2))
        places, shares = zip(*found, strict=True)
        return Measured(torch.stack(places), torch.stack(shares))

    @torch.no_grad()
    def threshold(
        self, cost: SpaceCost, routing: dict[int, list[Routing]], expected: Tensor, allowed: float | Tensor
    ) -> Tensor:
        """Return the router threshold, on the softmax margin, at which the expected cost is the allowed cost.

        Args:
            cost: cost of the space.
            routing: routings of this process in a step, by layer. Those of all processes count.
            expected: expected relative cost of this step, over all processes.
            allowed: allowed relative cost.
        """
        probabilities = [self.probabilities(layer) for layer in range(len(self.space.options))]
        margins, costs = self._margins(cost, routing, probabilities, everywhere=True)
        return threshold(margins, costs, (costs * (margins >= 0)).sum() + allowed - expected)

    @torch.no_grad()
    def threshold_of(
        self, cost: SpaceCost, routing: dict[int, list[Routing]], code: Code, target: float, nearest: bool = True
    ) -> Tensor:
        """Return the router threshold, on the softmax margin, at which one architecture costs the target.

        Args:
            cost: cost of the space.
            routing: routings by layer, of the routers of this architecture only.
            code: code of the architecture.
            target: relative cost to reach.
            nearest: whether the cost may exceed the target; see `nas.supernet.thresholds.threshold`.
        """
        base = cost.of(code, dict.fromkeys(range(len(code)), 0.0))
        chosen = [
            F.one_hot(self.shares.new_tensor(option).long(), len(lines)).to(self.shares)
            for option, lines in zip(code, cost.lines, strict=True)
        ]
        margins, costs = self._margins(cost, routing, chosen)
        return threshold(margins, costs, margins.new_tensor(target - cost.relative(base)), nearest)

    def _margins(
        self,
        cost: SpaceCost,
        routing: dict[int, list[Routing]],
        probabilities: Sequence[Tensor],
        everywhere: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return the softmax margin of each of n decisions and its relative cost if it is softmax, both [n].

        Args:
            cost: cost of the space.
            routing: routings of this process, by layer.
            probabilities: probabilities of the options, by layer.
            everywhere: whether the decisions of all processes count.
        """
        by_option: dict[tuple[int, int], list[Routing]] = {}
        for layer, option, one in self._decided(routing):
            by_option.setdefault((layer, option), []).append(one)
        margins, costs = [self.shares.new_zeros(0)], [self.shares.new_zeros(0)]
        for (layer, option), found in by_option.items():
            every = Routing.joined(found)
            own, tokens = kept_margin(every).flatten().to(self.shares), every.tokens
            if tokens is not None:
                tokens = tokens.float().repeat_interleave(len(own) // len(tokens))
            if everywhere:
                own = gathered(own, ragged=tokens is not None)
                tokens = None if tokens is None else gathered(tokens, ragged=True)
            slope = cost.relative(cost.lines[layer][option].slope)
            each = (probabilities[layer][option] * (slope / len(own))).expand_as(own)
            if tokens is not None:  # a chunk costs as much as its tokens
                each = each * (tokens / tokens.mean())
            margins.append(own)
            costs.append(each)
        return torch.cat(margins), torch.cat(costs)

    def _decided(self, routing: dict[int, list[Routing]]) -> Iterator[tuple[int, int, Routing]]:
        """Yield layer, option and routing. Options that differ only in their MLP width share a router."""
        for layer, decided in routing.items():
            for one in decided:
                for option, own in enumerate(self.space.options[layer]):
                    if own.routed and own.chunk_size == one.chunk_size:
                        yield layer, option, one

    @torch.no_grad()
    def best(self, cost: SpaceCost, target: float, exact: bool = False) -> Code:
        """Return the most probable architecture within the budget, or the cheapest if no architecture is within it.

        If the budget must be met exactly, the nearest architecture takes the place of the cheapest. An architecture
        that was selected during training is returned in any case.

        Args:
            cost: cost of the space.
            target: relative cost of the budget.
            exact: whether a cost below the target is as wrong as a cost above it.
        """
        if self.code is not None:
            return self.code
        scores = [self.probabilities(layer).log().nan_to_num(0.0).tolist() for layer in range(len(self.space.options))]
        costs, target = self.costs(cost), target - cost.relative(cost.fixed)
        if exact:
            return self._nearest(cost, scores, costs, target)
        costs = [
            [one - margin for one, margin in zip(*own, strict=True)]
            for own in zip(costs, self._margins_of_routers(cost), strict=True)
        ]
        return best_code(scores, costs, target + ROUNDING) or cost.cheapest

    def excess(self, cost: SpaceCost, code: Code, spent: float, target: float, exact: bool = False) -> float:
        """Return by how much an architecture misses the budget, as `best` counts it; 0 or less if it is within.

        Args:
            cost: cost of the space.
            code: code of the architecture.
            spent: relative cost of the architecture.
            target: relative cost of the budget.
            exact: whether a cost below the target is as wrong as a cost above it.
        """
        if not exact:
            margins = self._margins_of_routers(cost)
            return spent - sum(own[option] for own, option in zip(margins, code, strict=True)) - target - ROUNDING
        least, most = (cost.relative(cost.of(code, dict.fromkeys(range(len(code)), share))) for share in (0.0, 1.0))
        return 0.0 if least < target < most else abs(spent - target) - TOLERANCE

    def _nearest(self, cost: SpaceCost, scores: list[list[float]], costs: list[list[float]], target: float) -> Code:
        """Return the most probable architecture that can meet the budget exactly. Moved thresholds lower a score."""
        settings = [  # (option, score, cost) of each layer
            [
                (option, score - RELUCTANCE * abs(moved - now), moved)
                for option, (line, score, now) in enumerate(zip(*own, strict=True))
                for moved in [now, *(cost.relative(line.at(share)) for share in MOVES if line.slope)]
            ]
            for own in zip(cost.lines, scores, costs, strict=True)
        ]
        lowered = [[score for _, score, _ in own] for own in settings]
        chosen = nearest_code(lowered, [[moved for _, _, moved in own] for own in settings], target, TOLERANCE)
        return tuple(own[index][0] for own, index in zip(settings, chosen, strict=True))

    def cost_of(self, cost: SpaceCost, code: Code) -> float:
        """Return the relative cost of an architecture at the running softmax shares."""
        each = (options[option] for options, option in zip(self.costs(cost), code, strict=True))
        return cost.relative(cost.fixed) + sum(each)

    def _margins_of_routers(self, cost: SpaceCost) -> list[list[float]]:
        """Return by how much the relative cost of each layer's options may exceed the budget before calibration.

        Routers have a margin, as calibration lowers their cost. It is at most a layer's part of `TOLERANCE`, and at
        most the cost of their softmax chunks. Options without a router have none: their cost is known exactly.
        """
        most = TOLERANCE / len(cost.lines)
        return [
            [min(most, now - cost.relative(line.base)) if line.slope else 0.0 for line, now in zip(*own, strict=False)]
            for own in zip(cost.lines, self.costs(cost), strict=True)
        ]

    def costs(self, cost: SpaceCost) -> list[list[float]]:
        """Return the relative cost of each layer's options at the running softmax shares."""
        return [
            [cost.relative(line.at(share)) for line, share in zip(lines, shares, strict=False)]
            for lines, shares in zip(cost.lines, self.shares.nan_to_num(1.0).tolist(), strict=True)
        ]

    def probabilities(self, layer: int) -> Tensor:
        """Return the probabilities [options] of a layer's options: softmax of its logits, or 1 for a single option."""
        if str(layer) not in self.logits:
            return self.shares.new_ones(1)
        if self.selected is not None and self.selected.decided:  # without a copy from the host: steps are recorded
            return (self._cells[: len(self.space.options[layer])] == self.selected.chosen[layer]).to(self.shares)
        probabilities: Tensor = self.logits[str(layer)].softmax(-1)
        return probabilities


def _with_padding(x: Tensor) -> Tensor:
    """Return the flattened values and a zero behind them."""
    return F.pad(x.flatten(), (0, 1))


def _with_own_router(space: Space) -> Tensor:
    """Return 1 or 0 for each option [layers, most options]: whether it has a router that no later option shares."""
    most, rows = max(map(len, space.options)), []
    for options in space.options:
        last = {option.chunk_size: index for index, option in enumerate(options) if option.routed}
        own = [float(last.get(option.chunk_size) == index) for index, option in enumerate(options)]
        rows.append(own + [0.0] * (most - len(options)))
    return torch.tensor(rows)


def _mean_of_routers(space: Space) -> Tensor:
    """Return weights [layers, most options] of a mean over the options with a router; over all options without one."""
    most, rows = max(map(len, space.options)), []
    for options in space.options:
        counted = [option.routed for option in options]
        counted = counted if any(counted) else [True] * len(options)
        rows.append([one / sum(counted) for one in counted] + [0.0] * (most - len(options)))
    return torch.tensor(rows)
