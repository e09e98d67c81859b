"""Training steps as CUDA graphs: what a step has a GPU do is recorded once and from then on launched as a whole.

A step of a small model is hundreds of kernels of a few microseconds each, and a GPU waits while Python launches them
one by one. A graph launches them all at once. It is bound to the memory it was recorded with and to the sizes in it, so
there is one for each shape of a batch, before and after routing has begun; batch and schedule are read from buffers
that are written before each replay, and loss, figures and gradients lie in others. Only forward and backward pass are
recorded: clipping, optimiser and everything on the host go on as without graphs.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from nas.config import TrainerConfig
from nas.data import Scored
from nas.distributed.devices import AUTO
from nas.errors import warn

MOST_TOKENS = 65536
"""Tokens in a batch from which on a GPU has more to do than Python to launch, for the models this was made for."""
MOST_GRAPHS = 16
"""Shapes of batches that are recorded; further ones are computed without."""
WARM_UPS = 3
"""Steps before a recording, in which kernels are compiled and libraries set themselves up."""
MOST_MEMORY = 0.5
"""Share of a GPU's memory that a step may need to be recorded: a graph keeps what it needs."""


class Moment(NamedTuple):
    """What a step's computation knows of when in the training it is.

    Attributes:
        dense: whether routing has not begun.
        temperature: of the relaxation.
        allowed: share of softmax chunks.
        min_multiplier: lower bound of the budget multiplier.
    """

    dense: bool
    temperature: float | Tensor
    allowed: float | Tensor
    min_multiplier: float | Tensor


class Computed(NamedTuple):
    """What a step computes: the loss to differentiate, and its figures without a gradient."""

    loss: Tensor
    figures: dict[str, Tensor]


Compute = Callable[[Scored, Moment], Computed]
Replay = Callable[[], None]


def wanted(trainer: TrainerConfig, tokens: Tensor) -> bool:
    """Whether a step on these tokens is to be replayed.

    Not over several processes, which exchange gradients while they differentiate, and not in float16, where the loss is
    scaled by a factor that changes.
    """
    if trainer.cuda_graphs is False or not tokens.is_cuda or trainer.precision == "16-mixed":
        return False
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return False
    return trainer.cuda_graphs != AUTO or tokens.numel() <= MOST_TOKENS


class StaticStep:
    """Forward and backward pass of a step between buffers that stay where they are.

    Args:
        compute: the forward pass.
        parameters: of which gradients are wanted.
        batch, moment: of the first step; later ones have the same shapes and are dense or not as this one.
    """

    def __init__(self, compute: Compute, parameters: Sequence[Tensor], batch: Scored, moment: Moment) -> None:
        self._compute, self._parameters = compute, parameters
        self._batch = Scored(*(None if x is None else x.clone() for x in batch))  # type: ignore[arg-type]
        self._changing = [torch.full((), float(x), device=batch.tokens.device) for x in moment[1:]]
        self._moment = Moment(moment.dense, *self._changing)
        self._loss: Tensor | None = None
        self._figures: dict[str, Tensor] = {}
        self._gradients: list[Tensor | None] = []
        self.replay: Replay = self.run
        """Runs the step again on what the buffers hold by then."""

    def run(self) -> None:
        """Compute loss, figures and gradients, each in memory of its own."""
        self.forget()
        device = self._batch.tokens.device.type
        with torch.autocast(
            device,
            torch.get_autocast_dtype(device),
            enabled=torch.is_autocast_enabled(device),
            cache_enabled=False,  # a weight's copy in another precision must be made anew by each replay
        ):
            loss, self._figures = self._compute(self._batch, self._moment)
        with torch.autocast(device, enabled=False):
            loss.backward()
        self._loss = loss.detach()
        self._gradients = [parameter.grad for parameter in self._parameters]

    def forget(self) -> None:
        """Let go of what was computed."""
        self._loss, self._figures, self._gradients = None, {}, []
        for parameter in self._parameters:
            parameter.grad = None

    def __call__(self, batch: Scored, moment: Moment) -> Computed:
        """What a step on this batch gives; it holds until the next step. The loss is differentiated already."""
        for buffer, given in zip(self._batch, batch, strict=True):
            if buffer is not None and given is not None:
                buffer.copy_(given)
        for changing, value in zip(self._changing, moment[1:], strict=True):
            changing.fill_(value)  # the number goes with the launch: no memory of the host to wait for
        self.replay()
        assert self._loss is not None
        return Computed(self._loss, self._figures)

    def hand_over_gradients(self) -> None:
        """Give the parameters the gradients of the latest step, and none to those that had no part in it."""
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient


class Graphs:
    """The recorded steps of a module.

    Args:
        compute: forward pass of a step, without waiting for the GPU.
        parameters: of the model.
        state: tensors that a step changes in place.
    """

    def __init__(self, compute: Compute, parameters: Sequence[Tensor], state: Sequence[Tensor]) -> None:
        self._compute, self._parameters, self._state = compute, parameters, state
        self._steps: dict[tuple[object, ...], StaticStep] = {}
        self._failed = False
        self._recorder: Recorder | None = None

    def find(self, batch: Scored, moment: Moment) -> StaticStep | None:
        """The recorded step for such a batch, recorded now if it is the first of its shape; None if there is none.

        Draws random numbers where it records.
        """
        key = (moment.dense, *(None if x is None else x.shape for x in batch))
        if key not in self._steps and not self._failed and len(self._steps) < MOST_GRAPHS:
            self._record(key, StaticStep(self._compute, self._parameters, batch, moment))
        return self._steps.get(key)

    def _record(self, key: tuple[object, ...], step: StaticStep) -> None:
        before = [x.clone() for x in self._state]
        try:
            if self._recorder is None:
                self._recorder = Recorder(self._state[0].device)
            step.replay = self._recorder.record(step)
            self._steps[key] = step
        except Exception as error:  # whatever it was, a step can be computed without
            self._failed = True
            self._steps.clear()
            step.forget()
            told = str(error).strip().partition("\n")[0] or type(error).__name__
            warn(f"training goes on without CUDA graphs, slower if the model is small: {told}")
        for x, value in zip(self._state, before, strict=True):
            x.copy_(value)


class Recorder:
    """Records steps as CUDA graphs that share their memory, for no two of them run at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, step: StaticStep) -> Replay:
        """Warm up, then record ``step.run``; what a step changes in place is changed by that."""
        current = torch.cuda.current_stream(self._device)
        graph = torch.cuda.CUDAGraph()
        try:
            self._warm_up(step)
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                step.run()
        except BaseException:
            self._clean_up(current)
            raise
        return graph.replay

    def _warm_up(self, step: StaticStep) -> None:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                step.run()
            step.forget()
        current.wait_stream(self._stream)
        needed = torch.cuda.max_memory_allocated(self._device) - before
        if needed > MOST_MEMORY * torch.cuda.get_device_properties(self._device).total_memory:
            raise MemoryError(f"a step needs {needed / 2**30:.0f} GiB, and a graph would keep them.")

    def _clean_up(self, current: torch.cuda.Stream) -> None:
        """After a recording that failed: PyTorch still takes it to be under way (pytorch#171263), on its stream."""
        torch.cuda.set_stream(current)
        device = self._device.index
        with suppress(Exception):
            torch._C._cuda_endAllocateToPool(device, self._pool)
        with suppress(Exception):
            state = torch.Generator(self._device).graphsafe_get_state()
            torch.cuda.default_generators[device].graphsafe_set_state(state)
        with suppress(Exception):
            torch.cuda.synchronize(self._device)
