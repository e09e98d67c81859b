"""Training steps that draw the options of each layer, as a chain of CUDA graphs.

A step that draws its options computes few of the many architectures of a space, too many to record each whole step as
`nas.training.graphs.cuda_graphs` does. A block has far fewer sets of options. Each block is therefore recorded on its
own, once for each set of options. What comes before the blocks, the embedding and the draw, is the same for all
architectures, and so is what comes behind them: loss, budget and expected cost. A step of L layers launches 2 L + 3
graphs and little else.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from nas.data import Scored
from nas.models.language_model import LanguageModel, Stream
from nas.models.routing import LayerChoice, Policy, Routing
from nas.supernet.architecture_logits import ArchitectureLogits, Measured
from nas.supernet.draws import Draw, RunDraw
from nas.training.graphs.cuda_graphs import MOST_GRAPHS
from nas.training.graphs.recorded_functions import Passes, Port, Reading, Recordings
from nas.training.step.moment import Computed, Moment


class Parts(NamedTuple):
    """The parts of a training step.

    Attributes:
        model: the model.
        logits: its architecture logits.
        draw: maps (moment, how to call the draw) to what each layer computes.
        policy: maps a moment to the policy of the routers.
        score: maps (logits, batch, softmax shares, moment) to loss and figures.
        finish: is called with routings, figures and moment at the end of a step.
        state: tensors that ``score`` changes in place.
    """

    model: LanguageModel
    logits: ArchitectureLogits
    draw: Callable[[Moment, RunDraw], list[LayerChoice]]
    policy: Callable[[Moment], Policy]
    score: Callable[[Tensor, Scored, Measured, Moment], Computed]
    finish: Callable[[dict[int, list[Routing]], dict[str, Tensor], Moment], None]
    state: Sequence[Tensor]


class DrawnSteps:
    """The recorded steps of a module that draws options, by phase and by shape of the batch.

    Args:
        parts: parts of a step.
        device: device of the model.
    """

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self._parts = parts
        self._recordings = Recordings(device)
        self._steps: dict[tuple[bool | torch.Size | None, ...], DrawnStep] = {}

    @property
    def count(self) -> int:
        """Number of recordings."""
        return self._recordings.count

    @property
    def failed(self) -> bool:
        """Whether a recording has failed."""
        return self._recordings.failed

    def find(self, batch: Scored, moment: Moment) -> "DrawnStep | None":
        """Return the step for batches of this shape; None if there are too many shapes."""
        key = (moment.dense, *(None if x is None else x.shape for x in batch.tensors))
        if key not in self._steps:
            if len(self._steps) >= MOST_GRAPHS:
                return None
            self._steps[key] = DrawnStep(self._parts, self._recordings, batch, moment)
        return self._steps[key]


class DrawnStep:
    """The forward and backward passes of steps on batches of one shape, between fixed buffers.

    Args:
        parts: parts of a step.
        recordings: recordings of the module.
        batch, moment: batch and moment of the first step. Later steps have the same shapes.
    """

    def __init__(self, parts: Parts, recordings: Recordings, batch: Scored, moment: Moment) -> None:
        self._parts, self._recordings = parts, recordings
        self._batch = [Port(x.clone()) for x in batch.tensors if x is not None]
        device, cells = batch.tokens.device, parts.logits.shares.shape
        self._moment = moment.buffered(device)
        weight = parts.model.embedding.weight
        shape = (*batch.tokens.shape, weight.shape[1])
        self._streams = [_port(shape, weight) for _ in parts.model.blocks]
        self._shares = _port((*cells, 2), parts.logits.shares)
        self._cells = Port(torch.zeros(cells, dtype=torch.long, device=device))
        self._loss = Port(weight.new_zeros(()), weight.new_ones(()))
        self._chunk_sizes: dict[tuple[int, LayerChoice], list[int]] = {}
        self._names: tuple[str, ...] = ()
        self._begun: Sequence[Port] | None = None
        """Ports of the embedded tokens and of what the draw returned."""
        self._used: list[Passes] = []

    def __call__(self, batch: Scored, moment: Moment) -> Computed:
        """Run a step on this batch. The result is valid until the next step; the loss is already differentiated."""
        for port, given in zip(self._batch, (x for x in batch.tensors if x is not None), strict=True):
            port.value.copy_(given)
        self._moment.fill(moment)
        self._used = []
        layer_choices = self._parts.draw(self._moment, self._begin)
        if not self._used:  # nothing was drawn on the device
            self._begin(None, ())
        assert self._begun is not None
        stream, *weights = self._begun
        of_layers = dict(zip(self._parts.logits.space.choosing, weights, strict=False))
        routing: dict[int, list[Routing]] = {}
        for layer, choice in enumerate(layer_choices):
            stream, decided = self._block(layer, choice, stream, of_layers.get(layer))
            if decided:
                routing[layer] = decided
        figures = self._end(stream)
        for passes in reversed(self._used[:-1]):
            passes.backward()
        self._parts.finish(routing, figures, self._moment)
        return Computed(self._loss.value, figures)

    def hand_over_gradients(self) -> None:
        """Add the gradients of the latest step to those of the parameters."""
        for passes in self._used:
            for parameter, gradient in passes.gradients():
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def _begin(self, draw: Draw | None, _: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Embed the tokens, and draw; returns what the draw returns."""
        model, logits = self._parts.model, self._parts.logits

        def function(tokens: Tensor) -> tuple[Tensor, ...]:
            drawn = () if draw is None else draw(*(logits.logits[str(layer)] for layer in logits.space.choosing))
            return (model.embedding(tokens), *drawn)

        passes = self._recorded("begin", "begin", function, [model.embedding, logits], self._batch[:1], self._begun)
        passes.forward()
        self._begun = passes.into
        assert self._begun is not None
        return tuple(port.value for port in self._begun[1:])

    def _block(self, layer: int, choice: LayerChoice, stream: Port, weights: Port | None) -> tuple[Port, list[Routing]]:
        """Compute a block; returns its output and its routings."""
        given, into = [stream, *([] if weights is None else [weights])], self._streams[layer]
        block, logits, policy = self._parts.model.blocks[layer], self._parts.logits, self._parts.policy(self._moment)
        chosen = (layer, choice._replace(weights=None))

        def function(x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            made = block(Stream(x), policy, choice._replace(weights=weights[0] if weights else None))
            computed, routings = cast("tuple[Stream, list[Routing]]", made)
            self._chunk_sizes[chosen] = [routing.chunk_size for routing in routings]
            measured = logits.measured({layer: routings}, rows=logits.shares.shape[1])
            parts = (part.detach() for one in routings for part in (one.logits, one.weights))
            return (computed.total, measured.shares, measured.cells, *parts)

        ports = [into, self._shares.part(layer), self._cells.part(layer)]
        passes = self._recorded(chosen, layer, function, [block], given, ports)
        passes.forward()
        parts = passes.outputs[3:]
        routings = zip(parts[::2], parts[1::2], self._chunk_sizes[chosen], strict=True)
        return into, [Routing(one, weights, size) for one, weights, size in routings]

    def _end(self, stream: Port) -> dict[str, Tensor]:
        """Compute the loss, its gradients and the figures; returns the figures."""
        model = self._parts.model

        def function(x: Tensor, shares: Tensor, cells: Tensor, *batch: Tensor) -> tuple[Tensor, ...]:
            tokens, *places, targets = batch
            scored = Scored(tokens, places[0] if places else None, targets)
            measured = Measured(cells.flatten(), shares.flatten(0, 1))
            scores = model.read(x, scored.places)
            loss, figures = self._parts.score(scores, scored, measured, self._moment)
            self._names = tuple(figures)
            return (loss, *figures.values())

        given = [stream, self._shares, self._cells, *self._batch]
        modules = [model.norm, model.head, self._parts.logits]
        passes = self._recorded("end", "end", function, modules, given, [self._loss], self._parts.state, True)
        passes.forward()
        passes.backward()
        return dict(zip(self._names, passes.outputs[1:], strict=True))

    def _recorded(
        self,
        part: object,
        group: int | str,
        function: Callable[..., tuple[Tensor, ...]],
        modules: Sequence[nn.Module],
        given: Sequence[Port],
        into: Sequence[Port] | None,
        state: Sequence[Tensor] = (),
        together: bool = False,
    ) -> Passes:
        """Return the passes of a part of this step, recorded if possible, and note that this step uses them."""
        passes = self._recordings.get(
            (id(self), part), group, lambda: Passes(Reading(function, modules), given, into), state, together
        )
        self._used.append(passes)
        return passes


def _port(shape: Sequence[int], like: Tensor) -> Port:
    return Port(like.new_zeros(shape), like.new_zeros(shape))
