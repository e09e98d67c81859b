"""The budget: a limit on the cost that falls during training, enforced by a multiplier.

Costs are relative to the cost of the most expensive architecture. For the resource softmax_share, the cost is the share
of softmax chunks. Minimising the loss subject to cost <= allowed is the saddle point of
loss + multiplier * (cost - allowed). The weights descend on it and the multiplier ascends (Boyd & Vandenberghe 2004,
section 5.5). The multiplier therefore grows while the cost exceeds the allowed cost, and shrinks while it does not.
A penalty of fixed weight cannot replace it. A penalty from the start prevents learning, and a later penalty overshoots
the target. With ``exact`` the budget must be met exactly: cost = allowed. The multiplier may then be negative, which
rewards cost.

Dual ascent alone oscillates, because both the multiplier and the logits integrate the error. A term proportional to the
error damps the oscillation (PID Lagrangian methods, Stooke et al. 2020, arXiv 2007.03964). The error is relative to the
allowed cost. A cost of 0 therefore pulls the multiplier down as hard as twice the target pushes it up.

While routes are being learnt, the multiplier stays at or above a small price. Chunks that do not lower the loss are
then dropped even if the budget has room for them. The price falls to 0 at ``settle_from``. With hard routes, a chunk
that is kept and needed has no gradient until it is dropped. A lasting price would push needed chunks towards the
threshold and, occasionally, across it.

A price cannot bring hard routes to an exact cost. Logits that lie close together change sides together, and an
optimiser that normalises gradients turns any price into full steps. For an exact budget, each step therefore also moves
the routers' thresholds. They move towards the quantile of the logits at which the cost is the allowed cost
(`nas.supernet.thresholds`).

With a budget for each layer, costs and multipliers are vectors. The cost of a layer counts on the scale of the whole:
``floor`` is its cheapest option, 1 its most expensive one. Layers are weighted by the part of the whole range that is
theirs. With equal costs and multipliers this is the budget of all layers together.

With ``loss_margin`` the multiplier is 0 while the running loss is clearly above the lowest that it has had. Routers
that drop chunks which the task needs raise the loss, and the price would drop more of them before the loss can act. The
lowest loss counts and not that of the dense phase, which may end when the loss has halved. The margin is relative to
the first loss, since the lowest one may be near 0. The integral does not rise meanwhile, so that the multiplier does
not jump afterwards.

Route dropout keeps a chunk with a probability that falls from 1, whatever its router decides. Both operations then
train from the first step, and softmax attention keeps a gradient where routers have dropped its chunks too early.
Chunks are replaced in one direction only. Linear attention is the operation that learns an imprecise solution first.
Chunks that go to it at random would train it to retrieve what softmax attention should, and softmax attention not to
rely on any chunk. The same asymmetry has dropout on the skip connections of a supernet, which learn fastest there
(P-DARTS; Chen et al. 2019, section 3.3). Routers keep their gradient at replaced chunks. A decision counts with the
probability that it is not replaced, so the penalty is weighted by it, and the allowed cost does not fall faster than
the probability. Until the running loss has fallen to ``learnt_at`` of the first loss, the multiplier is 0, at most
until the probability is at its end: before, no chunk lowers the loss, and a price would drop all of them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.budget.checks import CHEAPEST, DRAWN, check_multiplier, check_phases

MIN_FRACTION = 0.01
"""Lower bound of the target in the geometric fall and in the divisor of errors; 0 is the floor, 1 the highest cost."""
THRESHOLD_RATE = 0.5
"""Fraction of the distance to the estimated threshold that routers move in a step. One batch gives a noisy estimate."""
RUNNING = 0.95
"""Decay of the running loss and cost. The softmax share that is needed varies strongly between batches."""


class Budget(nn.Module):
    """The allowed cost over training, and the multiplier that enforces it. Its buffers are part of checkpoints.

    The dense phase comes first: every layer with a choice is softmax, or linear if the start is "cheapest". Neither
    routers nor architecture logits learn. The phase ends when the running loss falls to ``learnt_at`` of the first
    loss, or at ``dense_until`` of training at the latest. With the start "drawn" it goes on from there: the options of
    each layer are drawn, routers still keep every chunk, and the phase ends when `begin` is called. The allowed cost
    then moves to ``target`` over the next ``tighten_over`` of training. From 1 its part above ``floor`` falls
    geometrically. From ``floor`` it rises linearly.

    Args:
        target: allowed cost at the end of training, relative to the most expensive architecture, in (0, 1].
        floor: cost of the cheapest architecture, relative to the most expensive, in [0, 1].
        start: architecture of the dense phase, "most_expensive", "both", "cheapest" or "drawn". "both" costs as much as
            "most_expensive": layers with a router apply softmax and linear attention to every chunk.
        exact: whether a cost below the target is as wrong as a cost above it.
        learnt_at: running loss at which routing begins, as a fraction of the first loss.
        dense_until: fraction of training at which routing begins in any case.
        tighten_over: fraction of training over which the allowed cost moves to the target.
        rate: growth of the multiplier's integral per training step and unit of error. The error is the excess of the
            running cost over the allowed cost, divided by the larger of allowed cost and target above the floor, and
            clipped to [-1, 1].
        gain: factor of the multiplier's term that is proportional to the error.
        price: minimum multiplier from the begin of routing until ``settle_from``; ignored if ``exact``.
        settle_from: fraction of training from which the minimum multiplier is 0.
        max_multiplier: maximum multiplier.
        route_dropout_over: fraction of training in which the probability that a chunk is kept at random falls from 1
            to ``route_dropout``; 0 for no route dropout.
        route_dropout: this probability afterwards, in [0, 1).
        ranges: relative cost of the cheapest and of the most expensive option of each layer, for a multiplier for each
            layer; empty for one multiplier.
        loss_margin: rise of the running loss above its lowest value, as a fraction of the first loss, from which the
            multiplier is 0; None if it never is.
        distillation: weight of distillation at the begin of routing; it falls linearly to 0 over ``tighten_over``.

    Raises:
        UserError: target is outside (0, 1], start is unknown, price exceeds max_multiplier, or routes are dropped in a
            search that starts cheapest, distillation has no dense phase or no step, or an exact
            budget has a margin of the loss or a multiplier for each layer.
    """

    integral: Tensor
    multiplier: Tensor
    first_loss: Tensor
    running_loss: Tensor
    lowest_loss: Tensor
    """Lowest running loss; only with ``loss_margin``."""
    learnt: Tensor
    """Whether the running loss has fallen to ``learnt_at`` of the first one; only with route dropout."""
    running_cost: Tensor
    drawing: Tensor
    """Whether options are drawn; only with the start "drawn"."""
    began: Tensor
    _ranges: Tensor | None
    shift: Tensor
    """Distance, in logits, by which the thresholds of all routers move before the next step."""

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
        route_dropout_over: float = 0.0,
        route_dropout: float = 0.0,
        ranges: Sequence[tuple[float, float]] = (),
        loss_margin: float | None = None,
        distillation: float = 0.0,
    ) -> None:
        super().__init__()
        check_phases(target, start, dense_until, tighten_over, route_dropout_over, distillation)
        check_multiplier(exact, price, max_multiplier, ranges, loss_margin)
        self.target, self.floor, self.exact = target, floor, exact
        self.starts_cheapest, self.starts_drawn = start == CHEAPEST, start == DRAWN
        self.learnt_at, self.dense_until, self.tighten_over = learnt_at, dense_until, tighten_over
        self.rate, self.gain = rate, gain
        self.price, self.settle_from, self.max_multiplier = price, settle_from, max_multiplier
        self.route_dropout_over, self._last_route_dropout = route_dropout_over, route_dropout
        self._distillation, self._loss_margin = distillation, loss_margin
        self.register_buffer("running_cost", torch.full((len(ranges),) if ranges else (), self.first))
        self.register_buffer("began", torch.tensor(math.inf))
        for name in ("integral", "multiplier"):
            self.register_buffer(name, torch.zeros_like(self.running_cost))
        self.register_buffer("shift", torch.tensor(0.0))
        self.register_buffer("_ranges", torch.tensor(ranges).T if ranges else None, persistent=False)
        for name in ("first_loss", "running_loss"):
            self.register_buffer(name, torch.tensor(math.nan))
        if loss_margin is not None:
            self.register_buffer("lowest_loss", torch.tensor(math.inf))
        if route_dropout_over:
            self.register_buffer("learnt", torch.tensor(data=False))
        if self.starts_drawn:
            self.register_buffer("drawing", torch.tensor(data=False))
        self._drawing = False  # values of the buffers, readable without waiting for a GPU
        self._began = math.inf
        self.register_load_state_dict_post_hook(Budget._read_began)

    def _read_began(self, _: object = None) -> None:
        self._began = self.began.item()
        self._drawing = self.starts_drawn and bool(self.drawing)

    def extend(self, factor: float) -> None:
        """Keep the step at which routing began when the number of steps changes.

        Args:
            factor: old number of steps over the new one.
        """
        self.began.mul_(factor)
        self._read_began()

    @property
    def dense(self) -> bool:
        """Whether the dense phase lasts: routing has not begun, and every layer is still as at the start."""
        return math.isinf(self._began)

    @property
    def draws_dense(self) -> bool:
        """Whether the dense phase draws the options of the layers by now; routers keep every chunk."""
        return self.dense and self._drawing

    @property
    def watches_loss(self) -> bool:
        """Whether routed steps need their loss."""
        return self._loss_margin is not None or self.route_dropout_over > 0

    @property
    def first(self) -> float:
        """The cost during the dense phase."""
        return self.floor if self.starts_cheapest else 1.0

    def allowed(self, progress: float) -> float:
        """Return the allowed cost at a fraction of training, between the cost at the start and the target."""
        if self.dense:
            return self.first
        done = self._done(progress, self.tighten_over)
        if done >= 1:
            tightened = self.target
        elif self.starts_cheapest:
            tightened = self.floor + (self.target - self.floor) * done
        else:
            tightened = max(self.target, self.floor + (1 - self.floor) * self._fraction(self.target) ** done)
        if not self.route_dropout_over:
            return tightened
        return max(tightened, self.floor + (1 - self.floor) * (1 - self._done(progress, self.route_dropout_over)))

    def route_dropout(self, progress: float) -> float | None:
        """Return the probability that a chunk is kept at random at a fraction of training; None if none ever is."""
        if not self.route_dropout_over:
            return None
        return 1 - (1 - self._last_route_dropout) * self._done(progress, self.route_dropout_over)

    def distillation(self, progress: float) -> float | None:
        """Return the weight of distillation at a fraction of training; None if it is always 0."""
        if not self._distillation:
            return None
        return self._distillation * (1 - self._done(progress, self.tighten_over))

    def _done(self, progress: float, over: float) -> float:
        """Return the part in [0, 1] that is done of what lasts a fraction of training from the begin of routing."""
        if self.dense:
            return 0.0
        passed = max(0.0, progress - self._began)  # float32 may round the begin up
        return 1.0 if passed >= over else passed / over

    def _fraction(self, cost: float) -> float:
        """Return a cost on a scale from 0 (the floor) to 1 (the most expensive), at least `MIN_FRACTION`."""
        return max(MIN_FRACTION, (cost - self.floor) / (1 - self.floor)) if self.floor < 1 else 1.0

    def min_multiplier(self, progress: float) -> float:
        """Return the minimum multiplier at a fraction of training, once routing has begun."""
        if self.exact:
            return -self.max_multiplier
        return self.price if progress < self.settle_from else 0.0

    @property
    def by_layer(self) -> bool:
        """Whether each layer has a multiplier of its own."""
        return self._ranges is not None

    @property
    def pressure(self) -> Tensor:
        """The multiplier, a scalar tensor; with one for each layer their weighted mean."""
        return self.multiplier if self._ranges is None else (self._weights * self.multiplier).sum()

    @property
    def _weights(self) -> Tensor:
        """The part [layers] of the range of all costs that is each layer's."""
        assert self._ranges is not None
        ranges = self._ranges[1] - self._ranges[0]
        return ranges / ranges.sum()

    def scaled(self, costs: Tensor) -> Tensor:
        """Return relative costs [layers] on the scale of the whole, from the floor to 1; the floor for fixed costs."""
        assert self._ranges is not None
        least, most = self._ranges
        return self.floor + (1 - self.floor) * (costs - least) / (most - least).clamp(min=1e-9)

    @torch.no_grad()
    def note(self, loss: Tensor) -> None:
        """Update the running loss with the loss of a step: of each one if the budget `watches_loss`."""
        loss, first = if_finite(loss, self.running_loss), self.first_loss.isnan()
        self.first_loss.copy_(torch.where(first, loss, self.first_loss))
        self.running_loss.copy_(torch.where(first, loss, self.running_loss)).lerp_(loss, 1 - RUNNING)
        if self._loss_margin is not None:
            torch.fmin(self.lowest_loss, self.running_loss, out=self.lowest_loss)

    def begin_in_time(self, progress: float, look: bool = True) -> None:
        """End the dense phase if the loss is low enough or ``dense_until`` is reached; or begin to draw in it.

        Args:
            progress: fraction of training done.
            look: whether to read the running loss, which waits for a GPU.
        """
        if not self.dense or self._drawing:
            return
        if progress >= self.dense_until or (look and self.running_loss <= self.learnt_at * self.first_loss):
            if not self.starts_drawn:
                self.begin(progress)
                return
            self.drawing.fill_(value=True)
            self._read_began()

    def begin(self, progress: float) -> None:
        """End the dense phase at a fraction of training."""
        self.began.fill_(progress)
        self._read_began()

    def penalty(self, cost: Tensor, route_dropout: float | Tensor | None = None) -> Tensor:
        """Return the term to add to the loss for a differentiable relative cost, in proportion to the multiplier.

        Args:
            cost: relative cost of a step; [layers] as `scaled` returns it, with a multiplier for each layer.
            route_dropout: probability that a chunk is kept whatever its router decides; None without route dropout.
        """
        if self.floor >= 1:
            return 0.0 * cost.sum()
        penalty = self.multiplier * (cost / (1 - self.floor))
        if self._ranges is not None:
            penalty = (self._weights * penalty).sum()
        return penalty if route_dropout is None else penalty * (1 - route_dropout)

    @torch.no_grad()
    def update(
        self,
        cost: Tensor,
        allowed: float | Tensor,
        min_multiplier: float | Tensor,
        loss: Tensor | None = None,
        route_dropout: float | Tensor | None = None,
    ) -> None:
        """Update the multiplier after a routed step.

        Args:
            cost: relative cost of the step, as for `penalty`.
            allowed: allowed relative cost.
            min_multiplier: minimum multiplier.
            loss: loss of the step, averaged over processes; None unless the budget `watches_loss`.
            route_dropout: probability that a chunk is kept at random; None without route dropout.
        """
        self.running_cost.lerp_(if_finite(cost, self.running_cost), 1 - RUNNING)
        room = (
            torch.as_tensor(allowed).clamp(min=self.floor + (1 - self.floor) * self._fraction(self.target)) - self.floor
        )
        error = ((self.running_cost - allowed) / room).clamp(-1.0, 1.0)
        before = self.integral.clone() if loss is not None else self.integral
        self.integral.add_(self.rate * error).clamp_(min=min_multiplier).clamp_(max=self.max_multiplier)
        multiplier = (self.integral + self.gain * error).clamp(min=min_multiplier)
        self.multiplier.copy_(multiplier.clamp(max=self.max_multiplier))
        if loss is not None:
            self.note(loss)
            idle = self._idles(route_dropout)
            self.integral.copy_(torch.where(idle, torch.minimum(self.integral, before), self.integral))
            self.multiplier.mul_(~idle)

    def _idles(self, route_dropout: float | Tensor | None) -> Tensor:
        """Return whether the multiplier is 0 at the present running loss, a scalar tensor."""
        idle = torch.zeros_like(self.running_loss, dtype=torch.bool)
        if self._loss_margin is not None:
            idle = self.running_loss - self.lowest_loss > self._loss_margin * self.first_loss
        if route_dropout is not None:
            self.learnt.logical_or_(self.running_loss <= self.learnt_at * self.first_loss)
            falls = torch.zeros_like(self.running_loss) + route_dropout > self._last_route_dropout
            idle = idle | (~self.learnt & falls)
        return idle

    @torch.no_grad()
    def move(self, threshold: Tensor) -> None:
        """Set `shift` to a fraction of the threshold at which this step would have had the allowed cost."""
        self.shift.copy_(THRESHOLD_RATE * if_finite(threshold, torch.zeros_like(self.shift)))


def if_finite(value: Tensor, otherwise: Tensor) -> Tensor:
    """Return a value of a step, or ``otherwise`` if the step overflowed: a gradient scaler then skips the step."""
    value = value.to(otherwise)
    return torch.where(value.isfinite(), value, otherwise)
