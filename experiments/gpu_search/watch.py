"""What a training does beside its steps: when it records CUDA graphs, and the profile of its last steps."""

import statistics
import time
from typing import Any, NamedTuple

import lightning
import torch
from torch.profiler import profile, record_function

from experiments.step_profile.profiling import Profile, activities, by_group, finish, profile_of, profiled
from nas.data import Scored
from nas.report.units import markdown
from nas.training.batches import TrainingStream
from nas.training.module import TrainingModule

PROFILED = 20
"""Profiled steps with graphs, and as many without."""


class Profiles(NamedTuple):
    """Profiles of the same search.

    Attributes:
        graphs: as training runs, with CUDA graphs. Their kernels do not say what launched them.
        kinds: without graphs, for the kinds of kernels.
    """

    graphs: Profile
    kinds: Profile


class Watch(lightning.Callback):
    """Notes in which steps a module records graphs, and profiles its last steps.

    Args:
        profile_from: step from which on steps are profiled; None for no profile.

    Attributes:
        recordings: number of recordings.
        last: number of steps after which nothing was recorded.
        seconds: time of the steps that recorded something.
        profile: profile of the last steps.
    """

    def __init__(self, profile_from: int | None = None) -> None:
        self.recordings, self.last, self.seconds = 0, 0, 0.0
        self.profile: Profile | None = None
        self._from, self._since = profile_from, 0.0
        self._record: profile | None = None

    def on_train_batch_start(self, trainer: lightning.Trainer, module: Any, batch: Scored, index: int) -> None:
        self._since = time.perf_counter()
        if trainer.global_step == self._from:
            finish(module.device)
            self._record = profile(activities=activities(module.device)).__enter__()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Scored, index: int
    ) -> None:
        assert isinstance(module, TrainingModule)
        if module.recorded.count > self.recordings:
            self.recordings, self.last = module.recorded.count, trainer.global_step
            self.seconds += time.perf_counter() - self._since

    def on_train_end(self, trainer: lightning.Trainer, module: Any) -> None:
        if self._record is None or self._from is None:
            return
        finish(module.device)
        self._record.__exit__(None, None, None)
        self.profile = profile_of(self._record, module.device, trainer.global_step - self._from)


def profiled_without_graphs(module: TrainingModule) -> Profile:
    """Profile further steps of a trained module without CUDA graphs."""
    trainer = module.config.trainer
    trainer.cuda_graphs = False
    optimizer = module.configure_optimizers()["optimizer"]
    batches = iter(TrainingStream(module.task, 0, PROFILED + 2, trainer.bilevel))

    def step() -> None:
        given = next(batches)
        assert isinstance(given, Scored)
        batch = Scored(*(None if x is None else x.to(module.device) for x in given))  # type: ignore[arg-type]
        with module.autocast():
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        module.backward(loss)
        with record_function("clipping"), torch.no_grad():
            module.configure_gradient_clipping(optimizer, trainer.gradient_clip)
        optimizer.step()

    return profiled(step, module.device, PROFILED)


def tables(profiles: dict[str, Profiles], milliseconds: dict[str, float]) -> str:
    """Tabulate the profiles of searches: one row a search, then one row a kind of kernel.

    Args:
        profiles: profiles by search.
        milliseconds: time of a step without profiler by search.
    """
    rows = [
        {
            "search": name,
            "ms a step": f"{milliseconds[name]:.2f}",
            "GPU busy": f"{graphs.busy:.2f}",
            "GPU idle": f"{milliseconds[name] - graphs.busy:.2f}",
            "launches": f"{graphs.launches:.0f}",
            "launches without graphs": f"{kinds.launches:.0f}",
            **{f"host {what}": f"{ms:.2f}" for what, ms in graphs.host.items()},
        }
        for name, (graphs, kinds) in profiles.items()
    ]
    groups = {name: by_group(kinds.kernels) for name, (_, kinds) in profiles.items()}
    largest = {kind: max(own.get(kind, 0.0) for own in groups.values()) for own in groups.values() for kind in own}
    kinds = [
        {"ms of kernels": kind, **{name: f"{own.get(kind, 0.0):.2f}" for name, own in groups.items()}}
        for kind in sorted(largest, key=lambda kind: -largest[kind])
    ]
    return f"{markdown(rows)}\n{markdown(kinds)}"


def second_half(rates: list[float]) -> float:
    """Return the median over the second half of the intervals, in which graphs are recorded already."""
    return statistics.median(rates[len(rates) // 2 :])
