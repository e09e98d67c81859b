"""Steps that draw the options of each layer as CUDA graphs of their parts.

A step that draws its options computes few of the many architectures of a space, too many to record each whole step as
`nas.training.cuda_graphs` does. A block has far fewer sets of options. Each block is therefore recorded on its own,
once for each set of options and each shape, and a step launches one graph for each layer and pass. The draw before the
blocks, and loss, budget and expected cost behind them, are the same for all architectures: one graph each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.errors import warn
from nas.models.language_model import Stream, run_block
from nas.models.mixers import LayerChoice, Policy, Routing, shares_of
from nas.models.recording import reason_of
from nas.training.cuda_graphs import Moment
from nas.training.recorded_functions import Function, FunctionRecorder, Passes, Reading, Values

MOST_RECORDINGS = 2048
"""Maximum number of recordings. Further sets of options and shapes run without a graph."""


class DrawnBlock:
    """A block with one set of options, as a function of tensors alone.

    Args:
        block: block of a supernet.
        policy: policy of the routers.
        choice: options that the block computes; its weights are arguments of the function.
    """

    def __init__(self, block: nn.Module, policy: Policy, choice: LayerChoice) -> None:
        self._block, self._policy, self._choice = block, policy, choice
        self.chunk_sizes: list[int] = []
        """Chunk size of each routing of the latest pass."""

    def __call__(self, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        """Return the output of the block, then logits, weights and shares of each routing.

        Only the output and the shares have a gradient.
        """
        choice = self._choice._replace(weights=weights[0] if weights else None)
        stream, routings = self._block(Stream(x), self._policy, choice)
        self.chunk_sizes = [routing.chunk_size for routing in routings]
        return (
            stream.total,
            *(part for one in routings for part in (one.logits.detach(), one.weights.detach(), shares_of(one))),
        )


class _Key(NamedTuple):
    """What the recording of a block depends on."""

    layer: int
    option: int | None
    among: tuple[int, ...] | None
    weighted: bool
    shape: torch.Size
    dtype: torch.dtype
    differentiated: bool


class BlockGraphs:
    """The recorded parts of a model's steps, called in the place of a block or of a function.

    Blocks are recorded by layer, set of options and shape. All calls between two calls of `clear` must have the same
    policy, up to the numbers in `at`.

    Args:
        device: device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recorder = FunctionRecorder(device)
        self._moment: Moment | None = None
        self._blocks: dict[_Key, tuple[Passes, DrawnBlock]] = {}
        self._functions: dict[tuple[object, ...], Passes] = {}
        self._failed = False

    def at(self, moment: Moment) -> Moment:
        """Return the moment with its numbers in fixed buffers, which recorded parts read."""
        if self._moment is None:
            self._moment = Moment(moment.dense, *(torch.full((), float(x), device=self._device) for x in moment[1:]))
        for buffer, value in zip(self._moment[1:], moment[1:], strict=True):
            assert isinstance(buffer, Tensor)
            buffer.fill_(value)
        return self._moment

    def __call__(
        self, layer: int, block: nn.Module, stream: Stream, policy: Policy, choice: LayerChoice
    ) -> tuple[Stream, list[Routing]]:
        """Return the output and the routings of a block; the outputs are valid until its next call with this choice."""
        x = stream.total
        key = _Key(
            layer, choice.option, choice.among, choice.weights is not None, x.shape, x.dtype, torch.is_grad_enabled()
        )
        given = (x,) if choice.weights is None else (x, choice.weights)
        if key not in self._blocks:
            drawn = DrawnBlock(block, policy, choice)
            if passes := self._record(layer, Reading(drawn, [block]), given):
                self._blocks[key] = passes, drawn
        if (found := self._blocks.get(key)) is None:
            return run_block(layer, block, Stream(x), policy, choice)
        passes, drawn = found
        y, *parts = passes(*given)
        routings = zip(parts[::3], parts[1::3], parts[2::3], drawn.chunk_sizes, strict=True)
        return Stream(y), [Routing(logits, weights, size, shares) for logits, weights, shares, size in routings]

    def call(
        self,
        name: str,
        function: Function,
        given: Values,
        modules: Sequence[nn.Module] = (),
        state: Sequence[Tensor] = (),
    ) -> tuple[Tensor, ...]:
        """Return what a function returns, which is valid until its next call.

        Args:
            name: name of the function. Functions of the same name compute the same.
            function: the function; the first of its name is recorded, for each set of shapes
                and of inputs with a gradient.
            given: inputs of the function.
            modules: modules whose parameters it reads.
            state: tensors that it changes in place. A recording restores them.
        """
        key = (name, *((x.shape, x.dtype, x.requires_grad) for x in given))
        if key not in self._functions and (passes := self._record(name, Reading(function, modules), given, state)):
            self._functions[key] = passes
        return self._functions[key](*given) if key in self._functions else function(*given)

    def clear(self) -> None:
        """Release all recordings and their memory.

        Later recordings get memory pools of their own: PyTorch refuses a pool whose graphs are gone while a tensor of
        it, a gradient for example, is still in use.
        """
        self._blocks.clear()
        self._functions.clear()
        self._recorder = FunctionRecorder(self._device)

    def _record(
        self, group: int | str, function: Reading, given: Values, state: Sequence[Tensor] = ()
    ) -> Passes | None:
        """Return the recorded passes of a function; None without room for it, or if a recording failed."""
        full = len(self._blocks) + len(self._functions) >= MOST_RECORDINGS
        if self._failed or full or not self._recorder.room():
            return None
        before = [x.clone() for x in state]
        try:
            return self._recorder.record(group, function, given)
        except Exception as error:  # every part can always run without a graph
            self._failed = True
            self.clear()
            reason = reason_of(error)
            warn(f"training continues without CUDA graphs of blocks, which is slower for small models: {reason}")
            return None
        finally:
            for x, value in zip(state, before, strict=True):
                x.copy_(value)
