"""The budget: an allowed cost, tightened over training and enforced by a multiplier.

Costs are relative to the dearest architecture's, for the resource softmax_share the share of softmax chunks. Minimising
the loss subject to cost <= allowed is the saddle point of loss + multiplier * (cost - allowed): the weights descend,
the multiplier ascends (Boyd & Vandenberghe 2004, section 5.5). So the multiplier grows while the cost is over the
allowed one and shrinks while it is under it. A penalty of fixed weight does neither: it stops learning if it is there
from the start, and overshoots its target if it comes later. With ``exact`` the budget is to be used up: cost = allowed,
and the multiplier may be negative, so that what costs is paid for.

Dual ascent alone oscillates: it integrates the error, and so do the logits. A term in proportion to the error damps it
(PID Lagrangian methods, Stooke et al. 2020, arXiv 2007.03964). The error is relative to the allowed cost, so that
a cost of 0 pulls back as hard as one of twice the target pushes. While routes are found the multiplier never falls
under a small price, so that chunks that softmax makes nothing of are let go even where the budget has room for
them. In the end that price falls away: with hard routes a chunk that is kept and needed has no gradient until it
is dropped, so a price that stayed would push needed chunks to the edge and, now and then, over it.

A price cannot make hard routes meet a cost exactly: logits that lie close together change sides together, and an
optimiser that scales gradients to one size turns any price into full steps. So for an exact budget the routers'
thresholds are moved too, step by step, towards the quantile of their logits at which the cost is the allowed one
(`nas.supernet.thresholds`).
"""

import math
from dataclasses import asdict

import torch
from torch import Tensor, nn

from nas.budget.cost import SOFTMAX_SHARE, UNITS, SpaceCost
from nas.config import BudgetConfig
from nas.errors import UserError
from nas.search_spaces.space import Space

DEAREST, BOTH, CHEAPEST = STARTS = "dearest", "both", "cheapest"
"""The architectures from which the target can be approached."""
LEAST_PART = 0.01
"""Of the way from the cheapest cost to the dearest: the least that a geometric fall ends at and that divides errors."""
THRESHOLD_RATE = 0.5
"""Part of the way to the right threshold that routers go in a step: a batch tells it with some error."""
RUNNING = 0.95
"""Weight of the past in the running loss and cost: one batch may need far more softmax than the next."""


class Budget(nn.Module):
    """Allowed cost over training, and the multiplier that enforces it. Its state is buffers, so checkpoints keep it.

    At first every layer that can is softmax, or linear where it starts with the cheapest, and neither routers nor
    architecture logits learn. Once the task is being learnt (the running loss is at ``learnt_at`` of the first loss),
    or at ``dense_until`` of training at the latest, the allowed cost goes to ``target`` over the next ``tighten_over``
    of training: from 1 its part above ``floor`` falls geometrically, from ``floor`` it rises linearly.

    Args:
        target: allowed cost at the end, relative to the dearest architecture; in (0, 1].
        floor: cost of the cheapest architecture, relative to the dearest.
        start: "dearest" or "cheapest", from where the target is approached; "both" is as dear as "dearest", but chunks
            get linear attention beside softmax until routing begins, where a layer can route.
        exact: whether less than the target is as wrong as more.
        learnt_at: fraction of the first loss at which tightening begins.
        dense_until: fraction of training at which it begins in any case.
        tighten_over: fraction of training that it takes.
        rate: growth of the multiplier's integral per training step, times the error: how far the running cost is over
            the allowed one, as a part of what that, or the target, allows above the floor; within [-1, 1].
        gain: the multiplier's part in proportion to that error.
        price: least multiplier from when routing begins until ``settle_from``; 0 after that.
        settle_from: fraction of training.
        max_multiplier: largest multiplier.
    """

    integral: Tensor
    multiplier: Tensor
    first_loss: Tensor
    running_loss: Tensor
    running_cost: Tensor
    began: Tensor
    shift: Tensor
    """How far the thresholds of all routers are to be moved before the next step."""

    def __init__(
        self,
        *,
        target: float,
        floor: float = 0.0,
        start: str,
        exact: bool,
        learnt_at: float,
        dense_until: float,
        tighten_over: float,
        rate: float,
        gain: float,
        price: float,
        settle_from: float,
        max_multiplier: float,
    ) -> None:
        super().__init__()
        if not 0 < target <= 1:
            raise UserError(
                f"budget.target={target} is no part of the dearest cost; give a number over 0 and at most 1."
            )
        if start not in STARTS:
            raise UserError(f"budget.start={start} is unknown; choose one of: {', '.join(STARTS)}.")
        if price > max_multiplier:
            raise UserError(f"budget.price={price} is over budget.max_multiplier={max_multiplier}; give a smaller one.")
        self.target, self.floor, self.exact, self.starts_cheapest = target, floor, exact, start == CHEAPEST
        self.learnt_at, self.dense_until, self.tighten_over = learnt_at, dense_until, tighten_over
        self.rate, self.gain = rate, gain
        self.price, self.settle_from, self.max_multiplier = price, settle_from, max_multiplier
        for name, value in (("running_cost", self.first), ("began", math.inf)):
            self.register_buffer(name, torch.tensor(value))
        for name in ("integral", "multiplier", "shift"):
            self.register_buffer(name, torch.tensor(0.0))
        for name in ("first_loss", "running_loss"):
            self.register_buffer(name, torch.tensor(math.nan))
        self._began = math.inf  # what the buffer holds, known without asking a GPU
        self.register_load_state_dict_post_hook(Budget._read_began)

    def _read_began(self, _: object = None) -> None:
        self._began = self.began.item()

    @property
    def dense(self) -> bool:
        """Whether routing has not begun: every layer is still as it was at the start."""
        return math.isinf(self._began)

    @property
    def first(self) -> float:
        """The cost at the start."""
        return self.floor if self.starts_cheapest else 1.0

    def allowed(self, progress: float) -> float:
        """The allowed cost at a fraction of training, between that of the start and the target."""
        if self.dense:
            return self.first
        passed = max(0.0, progress - self._began)  # the buffer may have rounded up
        if passed >= self.tighten_over:
            return self.target
        done = passed / self.tighten_over
        if self.starts_cheapest:
            return self.floor + (self.target - self.floor) * done
        return max(self.target, self.floor + (1 - self.floor) * self._part(self.target) ** done)

    def _part(self, cost: float) -> float:
        """A cost as a part of the way from the floor to the dearest, at least `LEAST_PART`."""
        return max(LEAST_PART, (cost - self.floor) / (1 - self.floor)) if self.floor < 1 else 1.0

    def min_multiplier(self, progress: float) -> float:
        """The least multiplier at a fraction of training, once routing has begun."""
        if self.exact:
            return -self.max_multiplier
        return self.price if progress < self.settle_from else 0.0

    @torch.no_grad()
    def note(self, loss: Tensor) -> None:
        """Take note of the loss of a step without routing."""
        loss, first = loss.to(self.running_loss), self.first_loss.isnan()
        self.first_loss.copy_(torch.where(first, loss, self.first_loss))
        self.running_loss.copy_(torch.where(first, loss, self.running_loss)).lerp_(loss, 1 - RUNNING)

    def begin_in_time(self, progress: float, look: bool = True) -> None:
        """Begin to tighten when the time has come.

        Args:
            progress: fraction of training done.
            look: whether to look at the running loss, which on a GPU means to wait for it.
        """
        if not self.dense:
            return
        if progress >= self.dense_until or (look and self.running_loss <= self.learnt_at * self.first_loss):
            self.began.fill_(progress)
            self._read_began()

    def penalty(self, cost: Tensor) -> Tensor:
        """The term to add to the loss, for a differentiable relative cost: the multiplier for all above the floor."""
        return self.multiplier * (cost / (1 - self.floor)) if self.floor < 1 else 0.0 * cost

    @torch.no_grad()
    def update(self, cost: Tensor, allowed: float | Tensor, min_multiplier: float | Tensor) -> None:
        """Move the multiplier after a routed step of a relative ``cost``; see `allowed` and `min_multiplier`."""
        self.running_cost.lerp_(cost.to(self.running_cost), 1 - RUNNING)
        room = torch.as_tensor(allowed).clamp(min=self.floor + (1 - self.floor) * self._part(self.target)) - self.floor
        error = ((self.running_cost - allowed) / room).clamp(-1.0, 1.0)
        self.integral.add_(self.rate * error).clamp_(min=min_multiplier).clamp_(max=self.max_multiplier)
        multiplier = (self.integral + self.gain * error).clamp(min=min_multiplier)
        self.multiplier.copy_(multiplier.clamp(max=self.max_multiplier))

    @torch.no_grad()
    def move(self, threshold: Tensor) -> None:
        """Ask for a part of the way to the threshold that would have met the allowed cost."""
        self.shift.copy_(THRESHOLD_RATE * threshold)


def budgeted_cost(config: BudgetConfig, space: Space) -> SpaceCost:
    """What the budget counts over a space; UserError where it cannot."""
    if config.resource not in UNITS:
        raise UserError(f"budget.resource={config.resource} is unknown; choose one of: {', '.join(UNITS)}.")
    return SpaceCost(config.resource, space, config.context)


def build_budget(config: BudgetConfig, cost: SpaceCost) -> Budget:
    """The budget of a config; UserError where no architecture can meet it."""
    options = asdict(config)
    resource, target = options.pop("resource"), options.pop("target")
    del options["context"]
    if resource == SOFTMAX_SHARE:
        target = Budget(target=target, **options).target  # refuses what is no share, also where nothing is searched
    if cost.least >= cost.most:  # nothing to choose
        return Budget(target=1.0, **options)
    _check_reachable(cost, target, config.exact)
    return Budget(target=min(1.0, cost.relative(target)), floor=cost.relative(cost.least), **options)


def _check_reachable(cost: SpaceCost, target: float, exact: bool) -> None:
    """UserError where no architecture costs so little or, if the budget is to be used up, so much."""
    if target >= cost.least and target > 0 and not (exact and target > cost.most):
        return
    at = "" if cost.resource == SOFTMAX_SHARE else f" at budget.context={cost.context}"
    advice = "give a number in that range" if exact else f"give {cost.shown(cost.least)} or more"
    raise UserError(
        f"budget.target={cost.shown(target)} cannot be met: architectures of {cost.space.name} need from "
        f"{cost.shown(cost.least)} to {cost.shown(cost.most)} {UNITS[cost.resource]}{at}; {advice}."
    )
