"""Show where the time of a training step goes, by kind of kernel.

    python -m experiments.step_profile                       # 340M, 8 sequences of 4096 tokens, on a GPU: a minute
    python -m experiments.step_profile --share 0.25 --trace step.json
    python -m experiments.step_profile --smoke               # a tiny model on the CPU, to test the script

A step is forward, backward, clipping and AdamW under autocast, with given random routes. Its time is measured as
training runs it, with both passes in one CUDA graph. The kernels are those of the same step without a graph. Kernels of
two streams can run at once, so the sum of their times may exceed the step's time. On a GPU the last line is about the
step with a graph: the sum of its kernels, how long two ran at once, and how long none ran.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch.profiler import record_function

from experiments.kernel_speed.inputs import Shapes, architecture_340m, hard_routes, smoke
from experiments.kernel_speed.models import given_routes
from experiments.step_profile.profiling import Kernels, Profile, by_group, finish, largest_first, profiled
from nas.budget.cost import training_flops_per_token
from nas.data import Scored
from nas.distributed.devices import peak_of
from nas.evaluation.metrics import token_losses
from nas.models.language_model import LanguageModel
from nas.report.units import markdown
from nas.search_spaces.architecture import Architecture
from nas.training.graphs.cuda_graphs import Recorder, StaticStep
from nas.training.step.moment import Computed, Moment

ROUNDS = 20
"""Timed steps."""
VOCAB_SIZE = 256
SHOWN = 30
"""Rows of the table of kernels."""


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
    kernels = profiled(step.run, device, trace=given.trace).kernels
    run = recorded(step, device)
    seconds = step_seconds(run, device)
    print(_summary(kernels, seconds, step.tokens, shapes.architecture, given))
    print(_largest(kernels))
    if device.type == "cuda":
        print(f"\n{_occupation(profiled(run, device), 1e3 * seconds)}")


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
    """Return the mean time of steps one after the other, as in training, where the host launches ahead of the GPU."""
    run()
    rounds = ROUNDS if device.type == "cuda" else 1
    finish(device)
    began = time.perf_counter()
    for _ in range(rounds):
        run()
    finish(device)
    return (time.perf_counter() - began) / rounds


def _summary(
    kernels: Kernels, seconds: float, tokens: int, architecture: Architecture, given: argparse.Namespace
) -> str:
    """Tabulate the groups, and the step's time beside the sum of all kernels."""
    groups = by_group(kernels)
    total = sum(groups.values())
    rows = [
        {"kernels": group, "ms": f"{ms:.2f}", "share of the step": f"{0.1 * ms / seconds:.1f} %"}
        for group, ms in [*groups.items(), ("all kernels", total), ("step", 1e3 * seconds)]
    ]
    shares = dict.fromkeys(architecture.routed_layers, given.share)
    flops = tokens * training_flops_per_token(architecture, shares, given.length)
    peak = peak_of(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    of_peak = "" if peak is None else f", {100 * flops / seconds / peak:.1f} % of the peak FLOPs"
    rate = f"{tokens / seconds:,.0f} tokens per second, {flops / seconds / 1e12:.0f} TFLOP/s{of_peak}"
    return f"{markdown(rows)}\n{rate}; idle less overlap: {1e3 * seconds - total:.2f} ms\n"


def _occupation(graph: Profile, milliseconds: float) -> str:
    """Say for how long kernels of a step ran, two at once, and none."""
    total = sum(graph.kernels.values()) / 1e3
    beside, none = total - graph.busy, milliseconds - graph.busy
    return f"with a graph: kernels {total:.2f} ms, of which {beside:.2f} ms beside another; no kernel {none:.2f} ms"


def _largest(kernels: Kernels) -> str:
    """Tabulate the kernels that take the most time."""
    return markdown(
        [
            {"kernels": group, "launched by": operation, "kernel": name[:60], "ms": f"{microseconds / 1e3:.2f}"}
            for (group, operation, name), microseconds in largest_first(kernels)[:SHOWN]
        ]
    )


if __name__ == "__main__":
    main()
