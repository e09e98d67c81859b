"""Blocks of a supernet as CUDA graphs, for steps that draw the options of each layer.

A step that draws its options computes few of the many architectures of a space, too many to record each whole step as
`nas.training.cuda_graphs` does. A block has far fewer sets of options. Each block is therefore recorded on its own,
once for each set of options and each shape, and a step launches one graph for each layer and pass.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.errors import warn
from nas.models.language_model import run_block
from nas.models.mixers import LayerChoice, Policy, Routing, shares_of
from nas.models.recording import Replay, end_recording, reason_of, without_autocast_cache
from nas.training.cuda_graphs import Moment

MOST_BLOCKS = 2048
"""Maximum number of recorded blocks. Further sets of options and shapes run without a graph."""
FREE_MEMORY = 0.5
"""Least fraction of GPU memory that must be free to record a further block, since graphs keep their memory."""
WARM_UPS = 1
"""Number of passes before a recording: kernels are compiled in them."""


class DrawnBlock(nn.Module):
    """A block with one set of options, as a function of tensors alone.

    Args:
        block: block of a supernet.
        policy: policy of the routers.
        choice: options that the block computes; its weights are arguments of `forward`.
    """

    def __init__(self, block: nn.Module, policy: Policy, choice: LayerChoice) -> None:
        super().__init__()
        self.block = block
        self._policy, self._choice = policy, choice
        self.chunk_sizes: list[int] = []
        """Chunk size of each routing of the latest pass."""

    def forward(self, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        """Return the output of the block, then logits, weights and shares of each routing."""
        choice = self._choice._replace(weights=weights[0] if weights else None)
        with without_autocast_cache(x.device.type):
            y, routings = self.block(x, self._policy, choice)
        self.chunk_sizes = [routing.chunk_size for routing in routings]
        return (y, *(part for one in routings for part in (one.logits, one.weights, shares_of(one))))


class _Key(NamedTuple):
    """What a recording depends on."""

    layer: int
    option: int | None
    among: tuple[int, ...] | None
    weighted: bool
    shape: torch.Size
    dtype: torch.dtype
    differentiated: bool


class BlockGraphs:
    """The recorded blocks of a model, by layer, set of options and shape; called in the place of a block.

    All calls between two calls of `clear` must have the same policy, up to the numbers in `at`.

    Args:
        device: device of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recorder = BlockRecorder(device)
        self._moment: Moment | None = None
        self._recorded: dict[_Key, tuple[BlockPasses, DrawnBlock]] = {}
        self._failed = False

    def at(self, moment: Moment) -> Moment:
        """Return the moment with its numbers in fixed buffers, which recorded policies read."""
        if self._moment is None:
            self._moment = Moment(moment.dense, *(torch.full((), float(x), device=self._device) for x in moment[1:]))
        for buffer, value in zip(self._moment[1:], moment[1:], strict=True):
            assert isinstance(buffer, Tensor)
            buffer.fill_(value)
        return self._moment

    def __call__(
        self, layer: int, block: nn.Module, x: Tensor, policy: Policy, choice: LayerChoice
    ) -> tuple[Tensor, list[Routing]]:
        """Return the output and the routings of a block; the outputs are valid until its next call with this choice."""
        key = _Key(
            layer, choice.option, choice.among, choice.weights is not None, x.shape, x.dtype, torch.is_grad_enabled()
        )
        given = (x,) if choice.weights is None else (x, choice.weights)
        if key not in self._recorded and self._room():
            self._record(key, DrawnBlock(block, policy, choice), given)
        if (found := self._recorded.get(key)) is None:
            return run_block(layer, block, x, policy, choice)
        recorded, drawn = found
        y, *parts = _Replay.apply(recorded, *given) if key.differentiated else recorded.forward(given)
        routings = zip(parts[::3], parts[1::3], parts[2::3], drawn.chunk_sizes, strict=True)
        return y, [Routing(logits, weights, size, shares) for logits, weights, shares, size in routings]

    def clear(self) -> None:
        """Release all recordings and their memory."""
        self._recorded.clear()

    def _room(self) -> bool:
        return not self._failed and len(self._recorded) < MOST_BLOCKS and self._recorder.room()

    def _record(self, key: _Key, drawn: DrawnBlock, given: tuple[Tensor, ...]) -> None:
        try:
            self._recorded[key] = self._recorder.record(key.layer, drawn, given), drawn
        except Exception as error:  # a block can always run without a graph
            self._failed = True
            self.clear()
            reason = reason_of(error)
            warn(f"training continues without CUDA graphs of blocks, which is slower for small models: {reason}")


class _Replay(torch.autograd.Function):
    """The recorded passes of a block as a differentiable function of its inputs."""

    @staticmethod
    def forward(ctx: Any, recorded: "BlockPasses", *given: Tensor) -> tuple[Tensor, ...]:
        ctx.recorded = recorded
        ctx.set_materialize_grads(False)
        return recorded.forward(given)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *ctx.recorded.backward(gradients)


class BlockPasses:
    """Both passes of a block between fixed buffers.

    The parameters are seen through tensors of their own for the same memory. Their gradients are set by this class.
    Autograd would launch more for the gradients of a block than the block itself is.

    Args:
        drawn: the block.
        given: inputs of a first call; later ones have the same shapes.
    """

    def __init__(self, drawn: DrawnBlock, given: tuple[Tensor, ...]) -> None:
        self._drawn, self._differentiated = drawn, torch.is_grad_enabled()
        self._given = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in given)
        self._parameters = dict(drawn.named_parameters())
        self._seen = {name: one.detach().requires_grad_() for name, one in self._parameters.items()}
        self._outputs: tuple[Tensor, ...] = ()
        self._of_outputs: tuple[Tensor, ...] = ()
        self._gradients: tuple[Tensor | None, ...] = ()
        self.replay_forward: Replay = self.run_forward
        self.replay_backward: Replay = self.run_backward

    def run_forward(self) -> None:
        """Compute the outputs in new memory."""
        with torch.set_grad_enabled(self._differentiated):  # off while autograd calls `forward`
            self._outputs = torch.func.functional_call(self._drawn, self._seen, self._given)

    def run_backward(self) -> None:
        """Compute the gradients of inputs and parameters in new memory."""
        outputs = [
            (x, gradient) for x, gradient in zip(self._outputs, self._of_outputs, strict=True) if x.requires_grad
        ]
        wanted = [*self._given, *self._seen.values()]
        sources = [x for x in wanted if x.requires_grad]
        with torch.autocast(self._given[0].device.type, enabled=False):
            found = iter(
                torch.autograd.grad(
                    [x for x, _ in outputs], sources, [gradient for _, gradient in outputs], allow_unused=True
                )
            )
        self._gradients = tuple(next(found) if x.requires_grad else None for x in wanted)

    def make_buffers(self) -> None:
        """Make the buffers for the gradients of the outputs, once these have shapes."""
        self._of_outputs = tuple(torch.zeros_like(x) for x in self._outputs)

    def release(self) -> None:
        """Release what only a recording needs: intermediate results, whose memory the graphs still use."""
        self._outputs = tuple(x.detach() for x in self._outputs)

    def forward(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Compute the outputs of the block."""
        for buffer, x in zip(self._given, given, strict=True):
            buffer.detach().copy_(x.detach())
        self.replay_forward()
        return tuple(x.detach() for x in self._outputs)

    def backward(self, gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """Set the gradients of the parameters, and return those of the inputs, from the gradients of the outputs."""
        for buffer, gradient in zip(self._of_outputs, gradients, strict=True):
            if gradient is None:
                buffer.zero_()
            else:
                buffer.copy_(gradient)
        self.replay_backward()
        count = len(self._given)
        for parameter, gradient in zip(self._parameters.values(), self._gradients[count:], strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return self._gradients[:count]


class BlockRecorder:
    """Records blocks as CUDA graphs.

    Blocks of one layer share memory: a step computes one of them, and its backward pass ends before the next step.

    Args:
        device: device of the blocks.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pools: dict[int, Any] = {}

    def room(self) -> bool:
        """Return whether enough memory is free to record a further block."""
        free, total = torch.cuda.mem_get_info(self._device)
        return free >= FREE_MEMORY * total

    def record(self, layer: int, drawn: DrawnBlock, given: tuple[Tensor, ...]) -> BlockPasses:
        """Return both passes of a block as graphs. Random generators stay as they were, whenever it is recorded."""
        random, current = torch.cuda.get_rng_state(self._device), torch.cuda.current_stream(self._device)
        pool = self._pools.setdefault(layer, torch.cuda.graph_pool_handle())
        passes = BlockPasses(drawn, given)
        try:
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    self._run(passes)
            current.wait_stream(self._stream)
            passes.replay_forward = self._graph(passes.run_forward, pool)
            if torch.is_grad_enabled():
                passes.replay_backward = self._graph(passes.run_backward, pool)
        except BaseException:
            end_recording(self._device, current, pool)
            raise
        passes.release()
        torch.cuda.set_rng_state(random, self._device)
        return passes

    def _run(self, passes: BlockPasses) -> None:
        """Run both passes without a graph, which compiles their kernels."""
        passes.run_forward()
        passes.make_buffers()
        if torch.is_grad_enabled():
            passes.run_backward()

    def _graph(self, run: Replay, pool: Any) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=self._stream):
            run()
        return graph.replay
