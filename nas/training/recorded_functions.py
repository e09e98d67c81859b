"""Functions of tensors as CUDA graphs: one graph for the forward pass and one for the backward pass.

`nas.training.block_graphs` uses them for blocks and for the other parts of a step.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nas.models.recording import Replay, end_recording, without_autocast_cache

FREE_MEMORY = 0.5
"""Least fraction of GPU memory that must be free to record a further function, since graphs keep their memory."""
WARM_UPS = 1
"""Number of passes before a recording: kernels are compiled in them."""

Function = Callable[..., tuple[Tensor, ...]]
"""A function of tensors alone, which does not wait for the GPU."""
Values = Sequence[Tensor]
"""Inputs of a function."""


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
    """Both passes of a function between fixed buffers.

    The parameters are seen through tensors of their own for the same memory. Their gradients are set by this class.
    Autograd would launch more for the gradients of a block than the block itself is.

    Args:
        function: the function.
        given: inputs of a first call; later ones have the same shapes.
    """

    def __init__(self, function: Reading, given: Values) -> None:
        self._function, self._differentiated = function, torch.is_grad_enabled()
        self._given = [x.detach().clone().requires_grad_(x.requires_grad) for x in given]
        self._parameters = dict(function.named_parameters())
        self._seen = {name: one.detach().requires_grad_() for name, one in self._parameters.items()}
        self._outputs: tuple[Tensor, ...] = ()
        self._of_outputs: list[Tensor] = []
        self._gradients: list[Tensor | None] = []
        self.has_gradient: tuple[bool, ...] = ()
        """Whether each output has a gradient."""
        self.replay_forward: Replay = self.run_forward
        self.replay_backward: Replay = self.run_backward

    def run_forward(self) -> None:
        """Compute the outputs in new memory."""
        with torch.set_grad_enabled(self._differentiated):  # off while autograd calls `forward`
            self._outputs = torch.func.functional_call(self._function, self._seen, tuple(self._given))

    def run_backward(self) -> None:
        """Compute the gradients of inputs and parameters in new memory."""
        outputs = [x for x in self._outputs if x.requires_grad]
        wanted = [*self._given, *self._seen.values()]
        sources = [x for x in wanted if x.requires_grad]
        with torch.autocast(self._given[0].device.type, enabled=False):
            found = iter(torch.autograd.grad(outputs, sources, self._of_outputs, allow_unused=True))
        self._gradients = [next(found) if x.requires_grad else None for x in wanted]

    def warm_up(self) -> None:
        """Run both passes, which compiles their kernels, and make the buffers for the gradients of the outputs."""
        self.run_forward()
        self.has_gradient = tuple(x.requires_grad for x in self._outputs)
        self._of_outputs = [torch.zeros_like(x) for x in self._outputs if x.requires_grad]
        if self._of_outputs:
            self.run_backward()

    def release(self) -> None:
        """Release what only a recording needs: intermediate results, whose memory the graphs still use."""
        self._outputs = tuple(x.detach() for x in self._outputs)

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Call the function, differentiably if it was recorded so. The outputs are valid until the next call."""
        return _Replay.apply(self, *given) if any(self.has_gradient) else self.forward(given)

    @torch.no_grad()
    def forward(self, given: Values) -> tuple[Tensor, ...]:
        """Compute the outputs of the function."""
        torch._foreach_copy_(self._given, list(given))
        self.replay_forward()
        return tuple(x.detach() for x in self._outputs)

    @torch.no_grad()
    def backward(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Set the gradients of the parameters, and return those of the inputs.

        Args:
            gradients: gradients of the outputs that have one.
        """
        pairs = list(zip(self._of_outputs, gradients, strict=True))
        torch._foreach_copy_([buffer for buffer, x in pairs if x is not None], [x for _, x in pairs if x is not None])
        for buffer in (buffer for buffer, x in pairs if x is None):
            buffer.zero_()
        self.replay_backward()
        count = len(self._given)
        for parameter, gradient in zip(self._parameters.values(), self._gradients[count:], strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return self._gradients[:count]


class _Replay(torch.autograd.Function):
    """Recorded passes as a differentiable function of the inputs."""

    @staticmethod
    def forward(ctx: Any, passes: Passes, *given: Tensor) -> tuple[Tensor, ...]:
        ctx.passes = passes
        ctx.set_materialize_grads(False)
        outputs = passes.forward(given)
        ctx.mark_non_differentiable(*(x for x, has in zip(outputs, passes.has_gradient, strict=True) if not has))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        used = [x for x, has in zip(gradients, ctx.passes.has_gradient, strict=True) if has]
        return None, *ctx.passes.backward(used)


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

    def record(self, group: Hashable, function: Reading, given: Values) -> Passes:
        """Return both passes of a function as graphs. Random generators stay as they were, whenever it is recorded."""
        random, current = torch.cuda.get_rng_state(self._device), torch.cuda.current_stream(self._device)
        pool = self._pools.setdefault(group, torch.cuda.graph_pool_handle())
        passes = Passes(function, given)
        try:
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    passes.warm_up()
            current.wait_stream(self._stream)
            passes.replay_forward = self._graph(passes.run_forward, pool)
            if any(passes.has_gradient):
                passes.replay_backward = self._graph(passes.run_backward, pool)
        except BaseException:
            end_recording(self._device, current, pool)
            raise
        passes.release()
        torch.cuda.set_rng_state(random, self._device)
        return passes

    def _graph(self, run: Replay, pool: Any) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=self._stream):
            run()
        return graph.replay
