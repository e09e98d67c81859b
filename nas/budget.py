"""The budget: an allowed share of softmax chunks, tightened over training and enforced by a multiplier.

Minimising the loss subject to share == allowed is the saddle point of loss + multiplier * (share - allowed): the
weights descend, the multiplier ascends (Boyd & Vandenberghe 2004, section 5.5). So the multiplier grows while the
share is over the allowed one and shrinks, below zero if need be, while it is under it. A penalty of fixed weight
does neither: it stops learning if it is there from the start, and overshoots its target if it comes later.

Dual ascent alone oscillates: it integrates the error, and so do the logits. A term in proportion to the error damps it
(PID Lagrangian methods, Stooke et al. 2020, arXiv 2007.03964). The error is relative to the allowed share, so that
a share of 0 pulls back as hard as one of twice the target pushes.
"""

import torch
from torch import Tensor, nn

from nas.errors import UserError


class Budget(nn.Module):
    """Allowed share over training, and the multiplier that enforces it (a buffer, so checkpoints keep it).

    Until ``dense_until`` of training every chunk goes to softmax, so that learning can begin. Then the allowed share
    falls geometrically from 1 to ``target``, which it reaches at ``tight_from``.

    Args:
        target: allowed share of softmax chunks at the end, averaged over layers, heads and chunks; in (0, 1].
        dense_until: fraction of training without routing.
        tight_from: fraction of training from which the target itself is allowed.
        rate: growth of the multiplier's integral per training step, times the error share / allowed - 1 within [-1, 1].
        gain: the multiplier's part in proportion to that error.
        max_multiplier: bound on the multiplier's size.
    """

    integral: Tensor
    multiplier: Tensor

    def __init__(
        self, *, target: float, dense_until: float, tight_from: float, rate: float, gain: float, max_multiplier: float
    ) -> None:
        super().__init__()
        if not 0 < target <= 1:
            raise UserError(f"budget.target={target} is not a share of chunks; give a number over 0 and at most 1.")
        if not 0 <= dense_until <= tight_from <= 1:
            raise UserError(
                f"budget.dense_until={dense_until} and budget.tight_from={tight_from} must be fractions of training "
                "in that order; give 0 <= dense_until <= tight_from <= 1."
            )
        for name, value in (("rate", rate), ("gain", gain), ("max_multiplier", max_multiplier)):
            if value < 0:
                raise UserError(f"budget.{name}={value} is negative; give 0 or more.")
        self.target, self.dense_until, self.tight_from = target, dense_until, tight_from
        self.rate, self.gain, self.max_multiplier = rate, gain, max_multiplier
        self.register_buffer("integral", torch.zeros(()))
        self.register_buffer("multiplier", torch.zeros(()))

    def is_dense(self, progress: float) -> bool:
        """Whether routing has not begun at this fraction of training."""
        return progress < self.dense_until

    def allowed(self, progress: float) -> float:
        """The allowed share at this fraction of training, in [target, 1]."""
        if self.is_dense(progress):
            return 1.0
        if progress >= self.tight_from:
            return self.target
        return self.target ** ((progress - self.dense_until) / (self.tight_from - self.dense_until))

    def penalty(self, share: Tensor) -> Tensor:
        """The term to add to the loss, for a differentiable share."""
        return self.multiplier * share

    @torch.no_grad()
    def update(self, share: Tensor, progress: float) -> None:
        """Move the multiplier after a step that used ``share``."""
        if self.is_dense(progress):
            return
        error = (share / self.allowed(progress) - 1).clamp(-1.0, 1.0)
        bound = self.max_multiplier
        self.integral.add_(self.rate * error).clamp_(-bound, bound)
        self.multiplier.copy_((self.integral + self.gain * error).clamp(-bound, bound))
