"""Functions of tensors as CUDA graphs: one graph for the forward pass and one for the backward pass.

The inputs and outputs of a function are `Port`s. Functions that share a port form a chain: the graph of one writes what
the graph of the next reads. `nas.training.graphs.drawn_steps` chains the parts of a training step, and
`nas.training.graphs.block_graphs` the blocks of a model.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nas.errors import warn
from nas.models.recording import Replay, end_recording, reason_of, without_autocast_cache

MOST_RECORDINGS = 2048
"""Maximum number of recordings. Further functions run without a graph."""
FREE_MEMORY = 0.5
"""Least fraction of GPU memory that must be free to record a further function, since graphs keep their memory."""
WARM_UPS = 1
"""Number of passes before a recording: kernels are compiled in them."""

Function = Callable[..., tuple[Tensor, ...]]
"""A function of tensors alone, which does not wait for the GPU."""


class Port(NamedTuple):
    """An input or output of recorded functions, in fixed memory.

    Attributes:
        value: the tensor.
        gradient: its gradient, which the readers of the tensor write; None for a tensor without a gradient.
    """

    value: Tensor
    gradient: Tensor | None = None

    @classmethod
    def like(cls, x: Tensor) -> "Port":
        """Return a port for tensors like x: it has a gradient if x has one."""
        return cls(x.detach().clone(), torch.zeros_like(x) if x.requires_grad else None)

    def part(self, index: int) -> "Port":
        """Return a port for one index of the first dimension."""
        return Port(self.value[index], None if self.gradient is None else self.gradient[index])


class Reading(nn.Module):
    """A function of tensors with the modules whose parameters it reads.

    Args:
        function: the function.
        modules: modules that it calls.
    """

    def __init__(self, function: Function, modules: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.read = nn.ModuleList(modules)
        self._function = function

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Call the function. Weights are cast in each call, as a replay has to do."""
        with without_autocast_cache(given[0].device.type):
            return self._function(*given)


class Passes:
    """Both passes of a function between ports.

    The parameters are seen through tensors of their own for the same memory. Autograd would launch more for the
    gradients of a block than the block itself is.

    Args:
        function: the function.
        given: inputs of the function.
        into: ports for its first outputs; None to make one for each output in the first forward pass.
    """

    def __init__(self, function: Reading, given: Sequence[Port], into: Sequence[Port] | None = None) -> None:
        self._function, self._differentiated = function, torch.is_grad_enabled()
        self._given = given
        self.into = into
        self.outputs: tuple[Tensor, ...] = ()
        """All outputs of the latest forward pass, in memory of the function."""
        self._parameters = dict(function.named_parameters())
        self._seen = {name: one.detach().requires_grad_() for name, one in self._parameters.items()}
        self._inputs: list[Tensor] = []
        self._results: tuple[Tensor, ...] = ()
        self._gradients: list[Tensor | None] = []
        self.forward: Replay = self.run_forward
        """Computes the outputs."""
        self.backward: Replay = self.run_backward
        """Computes the gradients of the inputs, in their ports, and those of the parameters."""

    def run_forward(self) -> None:
        """Compute the outputs in new memory, and copy those that have a port."""
        with torch.set_grad_enabled(self._differentiated):
            self._inputs = [port.value.detach().requires_grad_(self._has_gradient(port)) for port in self._given]
            self._results = torch.func.functional_call(self._function, self._seen, tuple(self._inputs))
        self.outputs = tuple(x.detach() for x in self._results)
        if self.into is None:
            self.into = [Port.like(x) for x in self._results]
        for port, x in zip(self.into, self.outputs, strict=False):
            port.value.copy_(x)

    def run_backward(self) -> None:
        """Compute the gradients of inputs and parameters in new memory, and copy those of the inputs."""
        sources = [x for x in (*self._inputs, *self._seen.values()) if x.requires_grad]
        outputs, gradients = self._differentiable()
        with torch.autocast(self._inputs[0].device.type, enabled=False):
            found: Sequence[Tensor | None] = torch.autograd.grad(outputs, sources, gradients, allow_unused=True)
        ports = [port.gradient for port in self._given if self._has_gradient(port)]
        for buffer, gradient in zip(ports, found, strict=False):
            assert buffer is not None
            if gradient is None:
                buffer.zero_()
            else:
                buffer.copy_(gradient)
        self._gradients = list(found[len(ports) :])

    def _differentiable(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the outputs with a gradient, and their gradients."""
        assert self.into is not None
        pairs = [
            (x, port.gradient)
            for x, port in zip(self._results, self.into, strict=False)
            if x.requires_grad and port.gradient is not None
        ]
        return [x for x, _ in pairs], [gradient.to(x.dtype) for x, gradient in pairs]

    def _has_gradient(self, port: Port) -> bool:
        return self._differentiated and port.gradient is not None

    @property
    def has_gradient(self) -> bool:
        """Whether the latest forward pass can be differentiated."""
        return bool(self._differentiable()[0])

    def both(self) -> None:
        """Run the forward pass, then the backward pass."""
        self.run_forward()
        self.run_backward()

    def release(self) -> None:
        """Release what only a recording needs: intermediate results, whose memory the graphs still use."""
        self._results, self._inputs = (), []

    def gradients(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the parameters that have a gradient, with the gradient of the latest backward pass."""
        for parameter, gradient in zip(self._parameters.values(), self._gradients, strict=False):
            if gradient is not None:
                yield parameter, gradient


class FunctionRecorder:
    """Records functions as CUDA graphs.

    Functions of one group share memory: a step calls one of them, and its backward pass ends before the next step.

    Args:
        device: device of the functions.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pools: dict[Hashable, Any] = {}

    def room(self) -> bool:
        """Return whether enough memory is free to record a further function."""
        free, total = torch.cuda.mem_get_info(self._device)
        return free >= FREE_MEMORY * total

    def record(self, group: Hashable, passes: Passes, together: bool) -> None:
        """Record both passes. Random generators stay as they were, whenever it is recorded.

        Args:
            group: group of the function.
            passes: passes of the function.
            together: whether one graph has both passes; calling the backward pass then has no effect.
        """
        random, current = torch.cuda.get_rng_state(self._device), torch.cuda.current_stream(self._device)
        pool = self._pools.setdefault(group, torch.cuda.graph_pool_handle())
        try:
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    passes.run_forward()
                    if differentiated := passes.has_gradient:
                        passes.run_backward()
            current.wait_stream(self._stream)
            passes.forward = self._graph(passes.both if together else passes.run_forward, pool)
            passes.backward = _nothing
            if differentiated and not together:
                passes.backward = self._graph(passes.run_backward, pool)
        except BaseException:
            end_recording(self._device, current, pool)
            raise
        passes.release()
        torch.cuda.set_rng_state(random, self._device)

    def _graph(self, run: Replay, pool: Any) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=self._stream):
            run()
        return graph.replay


def _nothing() -> None:
    """Compute nothing."""


class Recordings:
    """The recorded functions of one use of a model, by key.

    Each use has recordings of its own. PyTorch refuses to record into a memory pool whose graphs are gone while a
    tensor of it is in use, and the gradients of the last training step are in such a pool.

    Args:
        device: device of the functions.
    """

    def __init__(self, device: torch.device) -> None:
        self._recorder = FunctionRecorder(device)
        self._found: dict[Hashable, Passes] = {}
        self.failed = False
        """Whether a recording has failed, so that nothing more is recorded."""

    @property
    def count(self) -> int:
        """Number of recordings."""
        return len(self._found)

    def get(
        self,
        key: Hashable,
        group: Hashable,
        make: Callable[[], Passes],
        state: Sequence[Tensor] = (),
        together: bool = False,
    ) -> Passes:
        """Return the recorded passes of a key; without room for a recording, or if one has failed, new passes.

        Args:
            key: what the function and its ports depend on.
            group: functions of one group share memory, see `FunctionRecorder`.
            make: makes the passes.
            state: tensors that the function changes in place. A recording restores them.
            together: see `FunctionRecorder.record`.
        """
        if (found := self._found.get(key)) is not None:
            return found
        passes = make()
        if self.failed or self.count >= MOST_RECORDINGS or not self._recorder.room():
            return passes
        before = [x.clone() for x in state]
        try:
            self._recorder.record(group, passes, together)
        except Exception as error:  # every function can always run without a graph
            self.failed = True
            self._found.clear()
            reason = reason_of(error)
            warn(f"the search continues without CUDA graphs of blocks, which is slower for small models: {reason}")
            return make()
        finally:
            for x, value in zip(state, before, strict=True):
                x.copy_(value)
        self._found[key] = passes
        return passes
