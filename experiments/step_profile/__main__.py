"""Show where the time of a training step goes, by kind of kernel.

    python -m experiments.step_profile                       # 340M, 8 sequences of 4096 tokens, on a GPU: a minute
    python -m experiments.step_profile --share 0.25 --trace step.json
    python -m experiments.step_profile --smoke               # a tiny model on the CPU, to test the script

A step is forward, backward, clipping and AdamW under autocast, with given random routes. Its time is measured as
training runs it, with both passes in one CUDA graph. The kernels in the tables are those of the same step without a
graph, where the GPU waits for the host in between and stays cool. The last line is about the kernels of the steps with
a graph: their sum, how long two streams ran kernels at once, and how long none ran.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile, record_function

from experiments.kernel_speed.inputs import Shapes, architecture_340m, hard_routes, smoke
from experiments.kernel_speed.models import given_routes
from experiments.step_profile.groups import group_of
from nas.budget.cost import training_flops_per_token
from nas.data import Scored
from nas.distributed.devices import peak_of
from nas.evaluation.metrics import token_losses
from nas.models.language_model import LanguageModel
from nas.report.units import markdown
from nas.search_spaces.architecture import Architecture
from nas.training.cuda_graphs import Computed, Moment, Recorder, StaticStep

STEPS, ROUNDS = 3, 20
"""Profiled steps, and timed steps."""
VOCAB_SIZE = 256
SHOWN = 30
"""Rows of the table of kernels."""
Kernels = dict[tuple[str, str, str], float]
"""Microseconds by group, operation and kernel."""
Key = TypeVar("Key")


def main(arguments: list[str] | None = None) -> None:
    """Profile a step and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m experiments.step_profile", description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, default=4096, help="tokens of a sequence (default: 4096)")
    parser.add_argument("--batch", type=int, default=8, help="sequences (default: 8)")
    parser.add_argument("--share", type=float, default=0.066, help="softmax share of routed layers (default: 0.066)")
    parser.add_argument("--trace", type=Path, default=None, help="where to write the trace of the profiled steps")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on the CPU; the times mean nothing")
    given = parser.parse_args(arguments)
    if given.smoke:
        shapes, device, given.length = smoke(), torch.device("cpu"), 64
    else:
        shapes, device = (
            Shapes(replace(architecture_340m(), vocab_size=VOCAB_SIZE)),
            torch.device("cuda", torch.cuda.current_device()),
        )
    step = Step(shapes, given.batch, given.length, given.share, device)
    kernels = profiled(step.run, device, given.trace)
    run = recorded(step, device)
    seconds = step_seconds(run, device)
    print(_summary(kernels, seconds, step.tokens, shapes.architecture, given))
    print(_largest(kernels))
    if device.type == "cuda":
        print(f"\n{_occupation(run, device)}")


class Step:
    """A training step of a model with given routes."""

    def __init__(self, shapes: Shapes, batch: int, length: int, share: float, device: torch.device) -> None:
        torch.manual_seed(0)
        architecture = shapes.architecture
        with torch.device(device):
            self._model = LanguageModel(architecture)
        self._policy = given_routes(hard_routes(shapes, batch, length, share, device)[0])
        self.parameters = list(self._model.parameters())
        fused = True if device.type == "cuda" else None
        self._optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, weight_decay=0.1, fused=fused)
        tokens = torch.randint(architecture.vocab_size, (batch, length + 1), device=device)
        self.batch = Scored(tokens[:, :-1].contiguous(), None, tokens[:, 1:].flatten())
        self.moment = Moment(False, 1.0, 1.0, 0.0)
        self.tokens = batch * length

    def compute(self, batch: Scored, moment: Moment) -> Computed:
        """Compute the loss."""
        with torch.autocast(batch.tokens.device.type, torch.bfloat16):
            logits = self._model(batch.tokens, self._policy).logits
            return Computed(token_losses(logits.flatten(0, 1), batch.targets).mean(), {})

    def update(self) -> None:
        """Clip the gradients and update the weights."""
        with record_function("clipping"):
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._optimizer.step()

    def run(self) -> None:
        """Make a step without a graph."""
        self._optimizer.zero_grad()
        self.compute(self.batch, self.moment).loss.backward()
        self.update()


def profiled(run: Callable[[], None], device: torch.device, trace: Path | None) -> Kernels:
    """Return the kernels of a step, after warm-ups; on the CPU its operations."""
    for _ in range(2):
        run()
    _finish(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as record:
        for _ in range(STEPS):
            run()
        _finish(device)
    if trace is not None:
        record.export_chrome_trace(str(trace))
    kernels: Kernels = defaultdict(float)
    on_device = 0.0
    for event in record.events():
        if event.device_type != DeviceType.CPU:
            on_device += 0.0 if event.is_user_annotation else event.time_range.elapsed_us()
            continue
        operations = list(_operations(event))
        found = [(kernel.name, kernel.duration) for kernel in event.kernels]
        if device.type == "cpu":
            found = [(event.name, event.self_cpu_time_total)]
        for name, duration in found:
            kernels[group_of(name, operations), operations[0], name] += duration / STEPS
    missing = on_device / STEPS - sum(kernels.values())
    if device.type == "cuda" and missing > 1:
        kernels["launched by no known operation", "-", "-"] = missing
    return kernels


def _operations(event: object) -> Iterator[str]:
    """Yield the names of an operation and of those around it."""
    while event is not None:
        yield event.name  # type: ignore[attr-defined]
        event = event.cpu_parent  # type: ignore[attr-defined]


def recorded(step: Step, device: torch.device) -> Callable[[], None]:
    """Return a function that makes a step with both passes in one CUDA graph; without a graph on the CPU."""
    passes = StaticStep(step.compute, step.parameters, step.batch, step.moment)
    if device.type == "cuda":
        passes.replay = Recorder(device).record(passes)

    def run() -> None:
        passes(step.batch, step.moment)
        passes.hand_over_gradients()
        step.update()

    return run


def step_seconds(run: Callable[[], None], device: torch.device) -> float:
    """Return the median time of a step."""
    seconds = []
    for _ in range(ROUNDS if device.type == "cuda" else 1):
        _finish(device)
        began = time.perf_counter()
        run()
        _finish(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _occupation(run: Callable[[], None], device: torch.device) -> str:
    """Say for how long kernels ran in steps one after the other, with how much overlap, and for how long none ran."""
    run()
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        for _ in range(STEPS):
            run()
        _finish(device)
    times = [
        (event.time_range.start, event.time_range.end)
        for event in record.events()
        if event.device_type != DeviceType.CPU and not event.is_user_annotation
    ]
    spent = occupation(times)
    total, overlap, idle = (microseconds / STEPS / 1e3 for microseconds in (spent.total, spent.overlap, spent.idle))
    return f"with a graph: kernels {total:.2f} ms, of which {overlap:.2f} ms beside another; no kernel {idle:.2f} ms"


class Occupation(NamedTuple):
    """Sum of the kernels' times, the part of it beside another kernel, and the time without a kernel between them."""

    total: float
    overlap: float
    idle: float


def occupation(times: Iterable[tuple[float, float]]) -> Occupation:
    """Return how long kernels with these begins and ends ran."""
    ordered = sorted(times)
    first = last = ordered[0][0] if ordered else 0.0
    total = busy = 0.0
    for begin, end in ordered:
        total += end - begin
        busy += max(0.0, end - max(begin, last))
        last = max(last, end)
    return Occupation(total, total - busy, last - first - busy)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _summary(
    kernels: Kernels, seconds: float, tokens: int, architecture: Architecture, given: argparse.Namespace
) -> str:
    """Tabulate the groups, and the step's time beside the sum of all kernels."""
    groups: dict[str, float] = defaultdict(float)
    for (group, _, _), microseconds in kernels.items():
        groups[group] += microseconds / 1e3
    total = sum(groups.values())
    rows = [
        {"kernels": group, "ms": f"{ms:.2f}", "share of the step": f"{0.1 * ms / seconds:.1f} %"}
        for group, ms in [*_sorted(groups), ("all kernels", total), ("step", 1e3 * seconds)]
    ]
    shares = dict.fromkeys(architecture.routed_layers, given.share)
    flops = tokens * training_flops_per_token(architecture, shares, given.length)
    peak = peak_of(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    of_peak = "" if peak is None else f", {100 * flops / seconds / peak:.1f} % of the peak FLOPs"
    rate = f"{tokens / seconds:,.0f} tokens per second, {flops / seconds / 1e12:.0f} TFLOP/s{of_peak}"
    return f"{markdown(rows)}\n{rate}; idle less overlap: {1e3 * seconds - total:.2f} ms\n"


def _sorted(values: dict[Key, float]) -> list[tuple[Key, float]]:
    """Return the items, the largest value first."""
    return sorted(values.items(), key=lambda item: -item[1])


def _largest(kernels: Kernels) -> str:
    """Tabulate the kernels that take the most time."""
    return markdown(
        [
            {"kernels": group, "launched by": operation, "kernel": name[:60], "ms": f"{microseconds / 1e3:.2f}"}
            for (group, operation, name), microseconds in _sorted(kernels)[:SHOWN]
        ]
    )


if __name__ == "__main__":
    main()
