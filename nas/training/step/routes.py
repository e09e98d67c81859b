"""What each layer computes in a training step, and how router logits become routes."""

from collections.abc import Collection
from typing import NamedTuple

from torch import Tensor

from nas.budget.checks import BOTH
from nas.config import RunConfig
from nas.distributed.collectives import Place, over_all_rows, own_place
from nas.models.policies import both, drop_all, policy_of
from nas.models.routing import LayerChoice, Policy, first_alone
from nas.relaxations import RELAXATIONS, SAMPLED, keep_at_random
from nas.supernet.dense_start import as_softmax
from nas.supernet.draws import RunDraw, choices_of_layers, run_draw
from nas.supernet.placement import Placement
from nas.supernet.supernet import Supernet
from nas.training.step.moment import Moment


class Routes(NamedTuple):
    """The policies and the layer choices of a training.

    Attributes:
        config: config of the run.
        supernet: what is trained.
        dense_layers: layers that are softmax attention in the dense phase, see `nas.supernet.dense_start`.
        placement: placement of layers whose routers decide nothing; None if all layers keep their routers.
    """

    config: RunConfig
    supernet: Supernet
    dense_layers: Collection[int]
    placement: Placement | None

    def of(self, moment: Moment, place: Place | None = None) -> tuple[Policy, list[LayerChoice]]:
        """Return the policy and the layer choices of a step.

        Args:
            moment: state of the schedules.
            place: place of a micro-batch in the batch of its step; None for all rows of this process.
        """
        if not moment.dense or self.supernet.budget.draws_dense:
            return self.relaxed(moment, place), self.drawn(moment)
        return self.start

    @property
    def start(self) -> tuple[Policy, list[LayerChoice]]:
        """The policy and the layer choices of the dense phase."""
        supernet = self.supernet
        if supernet.budget.starts_cheapest:
            return drop_all, choices_of_layers(supernet.cost.cheapest)
        policy = both if self.config.budget.start == BOTH else first_alone
        return policy, as_softmax(choices_of_layers(supernet.cost.densest), self.dense_layers)

    @property
    def present(self) -> list[LayerChoice]:
        """The layer choices of the present architecture."""
        return self._placed(choices_of_layers(self.supernet.code))

    @property
    def draws(self) -> bool:
        """Whether the host draws which options a step computes, unless the dense phase has options of its own."""
        relaxation, selected = self.config.relaxation, self.supernet.architecture_logits.code is not None
        return bool(self.supernet.space.choosing and not selected and (relaxation.pairs or relaxation.name in SAMPLED))

    def drawn(self, moment: Moment, run: RunDraw = run_draw) -> list[LayerChoice]:
        """Return what each layer computes in a step that draws options; ``run`` calls the draw."""
        relaxation, logits = self.config.relaxation, self.supernet.architecture_logits
        return self._placed(logits.layer_choices(relaxation.name, moment.temperature, relaxation.pairs, run))

    def _placed(self, choices: list[LayerChoice]) -> list[LayerChoice]:
        return choices if self.placement is None else self.placement.placed(choices)

    def relaxed(self, moment: Moment, place: Place | None = None) -> Policy:
        """Return the policy of a step: a relaxation of the router logits, or the fixed routing at the allowed share.

        While the dense phase draws options, routers are not used.

        Args:
            moment: state of the schedules.
            place: see `of`.
        """
        if moment.dense:
            return first_alone
        architecture = self.supernet.model.architecture
        if architecture.given_routing is not None:
            given = policy_of(architecture, moment.allowed)
            if place is None:
                return given
            return lambda layer, logits: over_all_rows(lambda rows: given(layer, rows), logits, place)
        relaxation = RELAXATIONS[self.config.relaxation.router or self.config.relaxation.name]

        def weigh(rows: Tensor) -> Tensor:
            weights = relaxation(rows, moment.temperature)
            return weights if moment.route_dropout is None else keep_at_random(weights, moment.route_dropout)

        place = place or own_place(self.config.trainer.context_parallel)
        return lambda layer, logits: over_all_rows(weigh, logits, place)
