"""A training step: the forward pass, loss and figures of a batch, or the gradients of its micro-batches."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nas.data import Scored
from nas.distributed.collectives import Place, averages, part_of_mean
from nas.evaluation.metrics import token_losses
from nas.models.language_model import Output, RunBlock, recompute_block, run_block
from nas.models.routing import Routing
from nas.supernet.architecture_logits import Measured
from nas.training.step.accumulation import Micro, joined, parts_of_chunks, summed
from nas.training.step.losses import Losses
from nas.training.step.moment import Computed, Moment
from nas.training.step.routes import Routes
from nas.training.step.spending import Spending


class Step(NamedTuple):
    """What a training step computes.

    Attributes:
        routes: policies and layer choices.
        losses: loss and quality.
        spending: cost and budget.
    """

    routes: Routes
    losses: Losses
    spending: Spending

    def compute(self, batch: Scored, moment: Moment) -> Computed:
        """Compute the loss and figures of a step on the batch's device, without waiting for it."""
        output = self._forward(batch, moment)
        logits = self.spending.supernet.architecture_logits
        measured = None if moment.dense else logits.measured(output.routing)
        loss, figures = self.scored(output.logits, batch, measured, moment)
        self.spending.measure_threshold(output.routing, figures, moment)
        return Computed(loss, averages(figures))

    def scored(self, logits: Tensor, batch: Scored, measured: Measured | None, moment: Moment) -> Computed:
        """Return the loss and the figures of a step, before any average over processes, and update the budget.

        Args:
            logits: logits of the scored tokens.
            batch: tokens and targets.
            measured: softmax shares of the step; without effect during the dense phase.
            moment: state of the schedules.
        """
        lengths = self.losses.bytes_per_token([(batch, part_of_mean)])
        loss, figures = self.losses.of(logits, batch, part_of_mean, lengths)
        measured = None if moment.dense else measured
        if (spent := self.spending.update(loss.detach(), measured, moment)) is not None:
            figures |= self.spending.figures(spent)
            loss = loss + self.spending.supernet.budget.penalty(spent.priced, moment.route_dropout)
        return Computed(self.losses.distilled(loss, logits, batch, moment, figures, part_of_mean), figures)

    def _forward(self, batch: Scored, moment: Moment, place: Place | None = None) -> Output:
        """Return the logits of the scored tokens and the routings of a step; see `Routes.of`."""
        policy, layer_choices = self.routes.of(moment, place)
        run: RunBlock = self.losses.compiled or run_block
        if self.routes.config.trainer.activation_checkpointing:
            run = partial(recompute_block, run=run)
        model = self.routes.supernet.model
        output: Output = model(batch.tokens, policy, batch.places, layer_choices, run, batch.documents)
        return output

    def accumulate(
        self,
        micros: Sequence[Micro],
        moment: Moment,
        seed: Callable[[], None],
        differentiate: Callable[[Tensor], None],
    ) -> Computed:
        """Compute the figures of a step, and its gradients but for those of its last micro-batch.

        Args:
            micros: micro-batches of the step.
            moment: state of the schedules.
            seed: seeds the random numbers of the step; each micro-batch draws those of the whole batch.
            differentiate: adds the gradients of a loss.

        Returns:
            Loss of the last micro-batch, which Lightning differentiates, and the figures of the step.
        """
        spending = self.spending
        surveys = not moment.dense and spending.priced
        budgeted, parts = self._surveyed(micros, moment, seed) if surveys else ({}, [0.0] * len(micros))
        lengths = self.losses.bytes_per_token([(micro.batch, micro.mean) for micro in micros])
        figures, routings, loss = list[dict[str, Tensor]](), list[dict[int, list[Routing]]](), torch.zeros(())
        for number, (micro, part) in enumerate(zip(micros, parts, strict=True)):
            seed()
            output = self._forward(micro.batch, moment, micro.place)
            loss, own = self.losses.of(output.logits, micro.batch, micro.mean, lengths)
            if surveys:
                measured = spending.supernet.architecture_logits.measured(output.routing)
                spent = spending.of(loss, measured, update=False)
                loss = loss + part * spending.supernet.budget.penalty(spent.priced, moment.route_dropout)
            loss = self.losses.distilled(loss, output.logits, micro.batch, moment, own, micro.mean)
            figures.append(own)
            routings.append(joined([output.routing]))
            if number + 1 < len(micros):
                differentiate(loss)
        total = summed(figures)
        if not surveys:
            budgeted = self._budgeted(total["loss"], routings, moment)
        return Computed(loss, averages(total | budgeted))

    @torch.no_grad()
    def _surveyed(
        self, micros: Sequence[Micro], moment: Moment, seed: Callable[[], None]
    ) -> tuple[dict[str, Tensor], list[float]]:
        """Update the budget by all micro-batches of a step before any is differentiated.

        Returns:
            Figures of the budget, and the share of each micro-batch in the chunks of the step.
        """
        losses, routings = [], []
        for micro in micros:
            seed()
            logits, routing = self._forward(micro.batch, moment, micro.place)
            losses.append(micro.mean(token_losses(logits.flatten(0, -2), micro.batch.targets)))
            routings.append(routing)
        return self._budgeted(torch.stack(losses).sum(), routings, moment), parts_of_chunks(routings)

    @torch.no_grad()
    def _budgeted(
        self, loss: Tensor, routings: Sequence[dict[int, list[Routing]]], moment: Moment
    ) -> dict[str, Tensor]:
        """Update the budget by the loss and the routings of all micro-batches of a step; returns its figures."""
        routing = joined(routings)
        measured = None if moment.dense else self.spending.supernet.architecture_logits.measured(routing)
        spent = self.spending.update(loss, measured, moment)
        if spent is None:
            return {}
        figures = self.spending.figures(spent)
        self.spending.measure_threshold(routing, figures, moment)
        return figures
