"""Time the kernels and their peers side by side, and compare the times with the targets.

    python -m experiments.kernel_speed                                    # all parts, on one GPU
    python -m experiments.kernel_speed --parts both,delta --lengths 2048  # some of them
    python -m experiments.kernel_speed --smoke                            # every path at tiny shapes, on a CPU
    python -m experiments.kernel_speed --parts none --add a.json b.json   # one table of several runs

Writes results.json and a Markdown table named after the GPU. flash-linear-attention is included if it can be imported.
"""

import argparse
import gc
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from experiments.kernel_speed import inputs, limits, models, operations, peers, table
from experiments.kernel_speed.rows import Bench, Case, Row
from experiments.kernel_speed.timing import (
    Clock,
    ContextLost,
    DeviceClock,
    HostClock,
    LaunchClock,
    Value,
    reason,
    recover,
)

PARTS: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "both": operations.both,
    "delta": operations.delta,
    "softmax": operations.softmax,
    "sweep": operations.sweep,
    "length": operations.length,
    "mixer": models.mixer,
    "prefill": models.prefill,
    "flex": operations.flexible,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the study: measure, print and write; returns 0 unless the device was lost."""
    given = _parser().parse_args(arguments)
    given.out = given.out or Path("outputs") / ("kernel_speed_smoke" if given.smoke else "kernel_speed")
    results: table.Results = {}
    for path in [*given.add, given.out / "results.json"]:
        results |= table.load(path)
    if not given.smoke and given.parts and not torch.cuda.is_available():
        print("no CUDA device is available; --smoke runs every path on the CPU.", file=sys.stderr)
        return 2
    code = measure(given, results) if given.parts else 0
    results = {name: results[name] for name in PARTS if name in results}
    path = table.save(results, given.out)
    print(f"\nTargets:\n{table.verdicts(results)}\n\nWritten: {path}", flush=True)
    return code


def _parser() -> argparse.ArgumentParser:
    about, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="python -m experiments.kernel_speed",
        description=about,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ",".join(PARTS)
    parser.add_argument("--parts", type=_parts, default=list(PARTS), help=f"which of {names}, or none (default: all)")
    parser.add_argument(
        "--lengths", type=_lengths, default=(2048, 8192, 32768), help="sequence lengths T of the rows (2048,8192,32768)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="folder of the table and of results.json, which is extended",
    )
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="results.json of other runs to include")
    parser.add_argument("--seconds", type=float, default=1.5, help="approximate timed seconds of a row (default: 1.5)")
    parser.add_argument(
        "--limit", type=float, default=500, help="seconds after which no further case starts (default: 500)"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="tiny shapes on the CPU, to test the script; the times mean nothing"
    )
    return parser


def _parts(text: str) -> list[str]:
    names = [] if text == "none" else text.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is unknown; choose from: {', '.join(PARTS)}, or none.")
    return names


def _lengths(text: str) -> tuple[int, ...]:
    try:
        lengths = tuple(int(part) for part in text.split(","))
    except ValueError:
        lengths = ()
    if not lengths or min(lengths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be positive integers with commas between, such as 2048,8192.")
    return lengths


def measure(given: argparse.Namespace, results: table.Results) -> int:
    """Run the parts one by one into ``results``, saving after each case; returns 1 if the device was lost."""
    deadline = time.monotonic() + given.limit
    bench = _bench(given)
    where = table.machine(bench.clock.device)
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    ceilings = bench.ceilings
    print(f"ceilings: {ceilings.flops / 1e12:.3g} TFLOP/s, {ceilings.bytes / 1e12:.2f} TB/s\n", flush=True)
    for name in given.parts:
        part = PARTS[name]
        began = time.monotonic()
        results.pop(name, None)
        results[name] = table.new_part(inspect.cleandoc(part.__doc__ or ""), where, ceilings)
        try:
            for row in rows(part(bench), bench.clock, deadline):
                results[name]["rows"].append(row.to_dict())
                print(table.printed(name, row), flush=True)
                table.save(results, given.out)
        except ContextLost as error:
            print(f"[{name}] the device was lost; start the command again to measure the rest: {error}", flush=True)
            results[name]["notes"].append(f"{name}: ended early, the device was lost: {error}")
            return 1
        if bench.on_device:
            results[name]["notes"] += peers.fla_notes()
        print(f"[{name}] took {time.monotonic() - began:.0f} s\n", flush=True)
    return 0


def _bench(given: argparse.Namespace) -> Bench:
    clock: Clock
    if given.smoke:
        torch.set_num_threads(1)
        shapes, clock = inputs.smoke(), HostClock()
        return Bench(shapes, clock, clock, limits.measure_ceilings(shapes, clock, 0.01), "reference", 0.0, False)
    device = torch.device("cuda", torch.cuda.current_device())
    shapes, clock = inputs.full(given.lengths), DeviceClock(device)
    ceilings = limits.measure_ceilings(shapes, clock)
    return Bench(shapes, clock, LaunchClock(device), ceilings, "triton", given.seconds, True)


def rows(cases: Iterator[Case], clock: Clock, deadline: float) -> Iterator[Row]:
    """Yield the rows of all cases; a case that fails, or starts after the deadline, yields its reason."""
    for case in cases:
        if time.monotonic() > deadline:
            yield Row(case.name, "all", {"case": Value(failure="out of time")})
            continue
        try:
            yield from case.rows()
        except ContextLost:
            raise
        except Exception as error:
            failure = reason(error)
            error.__traceback__ = None  # it references the tensors of the case
            recover(clock)
            yield Row(case.name, "all", {"case": Value(failure=failure)})
        gc.collect()
        if clock.device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # do not wait for compilers' worker processes
