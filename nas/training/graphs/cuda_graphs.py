"""Training steps as CUDA graphs: the kernels of a step are recorded once and then launched together.

A step of a small model has hundreds of kernels of a few microseconds each, and the GPU waits while Python launches them
one by one. A graph launches all of them at once. It is bound to the memory and the shapes of its recording. Each shape
of a batch therefore has a graph of its own, for the dense phase and for the routed phase. The graph reads batch and
schedule from buffers that are written before each replay. Loss, figures and gradients are in other buffers. Only the
forward and backward passes are recorded. Gradient clipping, the optimiser and all work on the host run as without
graphs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nas.config import TrainerConfig
from nas.data import Scored
from nas.distributed.collectives import anywhere
from nas.distributed.devices import AUTO
from nas.distributed.launch import launched
from nas.distributed.replicas import averages_afterwards
from nas.errors import warn
from nas.models.recording import Replay, end_recording, reason_of, without_autocast_cache
from nas.training.step.moment import Compute, Computed, Moment

MOST_TOKENS = 65536
"""Largest batch, in tokens, for which graphs are used by default. Larger batches keep the GPU busy anyway."""
MOST_GRAPHS = 16
"""Maximum number of recorded shapes. Steps of further shapes run without a graph."""
WARM_UPS = 3
"""Number of steps before a recording, which compile kernels and initialise libraries."""
MOST_MEMORY = 0.5
"""Largest fraction of GPU memory that a recorded step may need, since a graph keeps its memory."""


def wanted(trainer: TrainerConfig, tokens: Tensor) -> bool:
    """Return whether a step on these tokens should use a CUDA graph.

    With several processes they are used if they are asked for, with whole models and steps. Gradients are exchanged
    after the backward pass then. Graphs are not used in float16, since the factor that scales the loss changes, nor
    with activation checkpointing, which reads the state of the random generators, nor with gradient accumulation or
    compiled blocks.
    """
    if trainer.cuda_graphs is False or not tokens.is_cuda or trainer.precision == "16-mixed":
        return False
    if trainer.activation_checkpointing or trainer.compile:
        return False
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return averages_afterwards(trainer)
    return trainer.cuda_graphs != AUTO or tokens.numel() <= MOST_TOKENS


class StaticStep:
    """The forward and backward passes of a step, with inputs and outputs in fixed buffers.

    Args:
        compute: forward pass of a step.
        parameters: parameters that get gradients.
        batch, moment: batch and moment of the first step. Later steps have the same shapes and the same ``dense``.
    """

    def __init__(self, compute: Compute, parameters: Sequence[Tensor], batch: Scored, moment: Moment) -> None:
        self._compute, self._parameters = compute, parameters
        self._batch = Scored(*(None if x is None else x.clone() for x in batch.tensors))  # type: ignore[arg-type]
        self._moment = moment.buffered(batch.tokens.device)
        self._loss: Tensor | None = None
        self._figures: dict[str, Tensor] = {}
        self._gradients: list[Tensor | None] = []
        self.replay: Replay = self.run
        """Runs the step on the present contents of the buffers."""

    def run(self) -> None:
        """Compute loss, figures and gradients in new memory."""
        self.forget()
        device = self._batch.tokens.device.type
        with without_autocast_cache(device):
            loss, self._figures = self._compute(self._batch, self._moment)
        with torch.autocast(device, enabled=False):
            loss.backward()
        self._loss = loss.detach()
        self._gradients = [parameter.grad for parameter in self._parameters]

    def forget(self) -> None:
        """Release loss, figures and gradients."""
        self._loss, self._figures, self._gradients = None, {}, []
        for parameter in self._parameters:
            parameter.grad = None

    def __call__(self, batch: Scored, moment: Moment) -> Computed:
        """Run a step on this batch. The result is valid until the next step; the loss is already differentiated."""
        for buffer, given in zip(self._batch.tensors, batch.tensors, strict=True):
            if buffer is not None and given is not None:
                buffer.copy_(given)
        self._moment.fill(moment)
        self.replay()
        assert self._loss is not None
        return Computed(self._loss, self._figures)

    def hand_over_gradients(self) -> None:
        """Set the gradients of the parameters to those of the latest step; None for parameters without a gradient."""
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient


class Graphs:
    """The recorded steps of a module, by shape of the batch.

    Args:
        compute: forward pass of a step, which does not wait for the GPU.
        parameters: parameters of the model.
        state: tensors that a step changes in place. Recordings restore them.
    """

    def __init__(self, compute: Compute, parameters: Sequence[Tensor], state: Sequence[Tensor]) -> None:
        self._compute, self._parameters, self._state = compute, parameters, state
        self._steps: dict[tuple[object, ...], StaticStep] = {}
        self._failed = False
        self._recorder: Recorder | None = None

    @property
    def count(self) -> int:
        """Number of recorded steps."""
        return len(self._steps)

    def find(self, batch: Scored, moment: Moment) -> StaticStep | None:
        """Return the recorded step for a batch of this shape; None if recording failed or too many shapes are recorded.

        The first batch of a shape is recorded, which advances the random generators.
        """
        key = (moment.dense, *(None if x is None else x.shape for x in batch.tensors))
        if key not in self._steps and not self._failed and len(self._steps) < MOST_GRAPHS:
            self._record(key, StaticStep(self._compute, self._parameters, batch, moment))
        return self._steps.get(key)

    def _record(self, key: tuple[object, ...], step: StaticStep) -> None:
        before, device = [x.clone() for x in self._state], self._state[0].device
        reason = None
        try:
            if self._recorder is None:
                self._recorder = Recorder(device)
            step.replay = self._recorder.record(step)
        except Exception as error:  # a step can always run without a graph
            reason = reason_of(error)
        if anywhere(reason is not None, device):
            self._failed = True
            self._steps.clear()
            step.forget()
            reason = reason or "another process could not record a step."
            warn(f"training continues without CUDA graphs, which is slower for small models: {reason}")
        else:
            self._steps[key] = step
        for x, value in zip(self._state, before, strict=True):
            x.copy_(value)


class Recorder:
    """Records steps as CUDA graphs that share memory, which is safe since only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, step: StaticStep) -> Replay:
        """Warm up, record ``step.run`` and return its replay. Warming up changes the tensors that a step changes."""
        current = torch.cuda.current_stream(self._device)
        graph = torch.cuda.CUDAGraph()
        try:
            self._warm_up(step)
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode=_capture_mode()):
                step.run()
        except BaseException:
            end_recording(self._device, current, self._pool)
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
            raise MemoryError(f"a step needs {needed / 2**30:.0f} GiB, and a graph would keep this memory.")


def _capture_mode() -> str:
    """Return which threads a recording forbids to wait for the GPU: with several processes, NCCL has one that does."""
    return "global" if launched().world == 1 else "thread_local"
