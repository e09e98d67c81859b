"""Time the kernels and their peers side by side, and compare the times with the targets.

    python -m experiments.kernel_speed                                    # all parts, on one GPU
    python -m experiments.kernel_speed --parts both,delta --lengths 2048  # some of them
    python -m experiments.kernel_speed --smoke                            # every path at tiny shapes, on a CPU
    python -m experiments.kernel_speed --compile --parts delta128,states  # compile, measure nothing
    python -m experiments.kernel_speed --parts none --add a.json b.json   # one table of several runs
    python -m experiments.kernel_speed --parts none --add a.json --table experiments/kernel_speed/nvidia-h200.md

Writes results.json and a Markdown table named after the GPU. Peers are included if they can be imported: the extra
`peers` has them. FlashQLA compiles for one or two minutes at first use: the kernels of the gated delta rule's parts are
compiled before the first of them, at once, and kept on disk.
"""

import argparse
import gc
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch

from experiments.kernel_speed import decoding, inputs, limits, models, operations, packed, peers, table, tuning
from experiments.kernel_speed.delta_rule import errors, parts, warm_up
from experiments.kernel_speed.delta_rule import peers as delta_peers
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
    "delta": parts.delta,
    "delta128": parts.delta128,
    "states": parts.states,
    "groups": parts.groups,
    "routes": parts.routes,
    "errors": errors.errors,
    "packed": packed.packed,
    "softmax": operations.softmax,
    "sweep": operations.sweep,
    "length": operations.length,
    "mixer": models.mixer,
    "prefill": models.prefill,
    "decode": decoding.decode,
    "flex": operations.flexible,
}

OF_FUSED_PEERS = ("delta128", "states", "groups", "errors", "packed")
OF_FLA = ("both", "delta", "mixer", *OF_FUSED_PEERS)
"""Parts in which FlashQLA and FlashInfer, and flash-linear-attention, take part."""


def main(arguments: list[str] | None = None) -> int:
    """Run the study: measure, print and write; returns 0 unless the device was lost."""
    given = _parser().parse_args(arguments)
    given.out = given.out or Path("outputs") / ("kernel_speed_smoke" if given.smoke else "kernel_speed")
    added: table.Results = {}
    for path in given.add:
        added |= table.load(path)
    results = table.load(given.out / "results.json") | added
    if not given.smoke and given.parts and not torch.cuda.is_available():
        print("no CUDA device is available; --smoke runs every path on the CPU.", file=sys.stderr)
        return 2
    if given.compile:
        compile_kernels(given.parts, inputs.full(given.lengths))
        return 0
    with nullcontext() if given.smoke or not given.parts else tuning.compiled_at_once():
        code = measure(given, results) if given.parts else 0
    results = {name: results[name] for name in PARTS if name in results}
    path = table.save(results, given.out)
    print(f"\nTargets:\n{table.verdicts(results)}\n\nWritten: {path}", flush=True)
    if given.table is not None:
        new = {name: part for name, part in results.items() if name in added or name in given.parts}
        table.update(given.table, new, PARTS)
        print(f"Sections of {given.table} replaced: {', '.join(new)}", flush=True)
    return code


def compile_kernels(names: list[str], shapes: inputs.Shapes) -> None:
    """Compile the kernels of those parts that are of the gated delta rule, ours and the peers', at once."""
    calls = warm_up.calls_of(names, shapes)
    if not calls:
        return
    began, device = time.monotonic(), torch.device("cuda", torch.cuda.current_device())
    failures = warm_up.compile_calls(calls, shapes, "triton", device)
    took = f"compiled the kernels of {len(calls)} calls in {time.monotonic() - began:.0f} s"
    print(took, *failures, sep="\n    ", flush=True)


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
        "--lengths",
        type=_lengths,
        default=None,
        help="sequence lengths T of the rows (2048,8192,32768; 131072 too for the gated delta rule alone)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        help="folder of the table and of results.json, which is extended",
    )
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="results.json of other runs to include")
    parser.add_argument("--table", type=Path, default=None, help="Markdown table whose sections are replaced by these")
    parser.add_argument(
        "--compile", action="store_true", help="compile the kernels of the gated delta rule, and measure nothing"
    )
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
    if bench.on_device:
        compile_kernels(given.parts, bench.shapes)
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
            results[name]["notes"] += notes(name)
        print(f"[{name}] took {time.monotonic() - began:.0f} s\n", flush=True)
    return 0


def notes(part: str) -> list[str]:
    """Return what readers of a part must know of its peers."""
    found = peers.fla_notes() if part in OF_FLA else []
    return found + (delta_peers.missing() if part in OF_FUSED_PEERS else [])


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
