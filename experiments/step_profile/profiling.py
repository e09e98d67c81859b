"""Profiles of steps: the kernels by kind, how many there are, and what the host does meanwhile."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from experiments.step_profile.groups import group_of

STEPS = 3
"""Profiled steps."""
Kernels = dict[tuple[str, str, str], float]
"""Microseconds by group, operation and kernel."""
Key = TypeVar("Key")
HOST = {
    "launching graphs": ("cudaGraphLaunch",),
    "launching kernels": ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemsetAsync"),
    "copying and waiting": ("cudaMemcpy", "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
}
"""What the host does in calls of CUDA, and how the names of these calls begin."""


class Profile(NamedTuple):
    """Means over the profiled steps.

    Attributes:
        kernels: kernels on the GPU; on the CPU operations.
        launches: number of kernels.
        busy: milliseconds in which the GPU ran at least one kernel.
        host: milliseconds of the host in calls of CUDA, by what they do; see `HOST`.
    """

    kernels: Kernels
    launches: float
    busy: float
    host: dict[str, float]


def activities(device: torch.device) -> list[ProfilerActivity]:
    """Return what to profile of work on a device."""
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]


def profiled(run: Callable[[], None], device: torch.device, steps: int = STEPS, trace: Path | None = None) -> Profile:
    """Profile ``steps`` calls of ``run``, a step, after warm-ups."""
    for _ in range(2):
        run()
    finish(device)
    with profile(activities=activities(device)) as record:
        for _ in range(steps):
            run()
        finish(device)
    if trace is not None:
        record.export_chrome_trace(str(trace))
    return profile_of(record, device, steps)


def profile_of(record: profile, device: torch.device, steps: int) -> Profile:
    """Return the profile of recorded steps."""
    kernels: Kernels = defaultdict(float)
    intervals: list[tuple[float, float]] = []
    host: dict[str, float] = dict.fromkeys(HOST, 0.0)
    launches = 0
    for event in record.events():
        if event.device_type != DeviceType.CPU:
            if not event.is_user_annotation:
                intervals.append((event.time_range.start, event.time_range.end))
            continue
        for what, names in HOST.items():
            host[what] += event.time_range.elapsed_us() / 1e3 / steps if event.name.startswith(names) else 0.0
        operations = list(_operations(event))
        found = [(kernel.name, kernel.duration) for kernel in event.kernels]
        if device.type == "cpu":
            found = [(event.name, event.self_cpu_time_total)]
        launches += len(found)
        for name, duration in found:
            kernels[group_of(name, operations), operations[0], name] += duration / steps
    missing = sum(end - start for start, end in intervals) / steps - sum(kernels.values())
    if device.type == "cuda" and missing > 1:
        kernels["launched by no known operation", "-", "-"] = missing
    count = launches if device.type == "cpu" else len(intervals)
    return Profile(kernels, count / steps, _covered(intervals) / 1e3 / steps, host)


def _covered(intervals: list[tuple[float, float]]) -> float:
    """Return the length of the union of intervals.

    >>> _covered([(0.0, 2.0), (5.0, 6.0), (1.0, 3.0)])
    4.0
    """
    covered, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def _operations(event: object) -> Iterator[str]:
    """Yield the names of an operation and of those around it."""
    while event is not None:
        yield event.name  # type: ignore[attr-defined]
        event = event.cpu_parent  # type: ignore[attr-defined]


def by_group(kernels: Kernels) -> dict[str, float]:
    """Return the milliseconds of each group of kernels, the largest first."""
    groups: dict[str, float] = defaultdict(float)
    for (group, _, _), microseconds in kernels.items():
        groups[group] += microseconds / 1e3
    return dict(largest_first(groups))


def largest_first(values: Mapping[Key, float]) -> list[tuple[Key, float]]:
    """Return the items, the largest value first."""
    return sorted(values.items(), key=lambda item: -item[1])


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
